"""`check` tells the operator which settings and stores the service cannot use. Starts nothing."""

from __future__ import annotations

import http.client
import os
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from feedsvc import jwks
from feedsvc.cli.check_stores import Finding, ask_database, ask_redis
from feedsvc.cli.output import json_option, show
from feedsvc.embedded import datadir, valkey
from feedsvc.errors import BadSettings, FeedsvcError, StoreUnavailable
from feedsvc.fanout import broker
from feedsvc.services import addresses
from feedsvc.settings import PREFIX, Settings, load_settings, unknown_variables
from feedsvc.tasks import celery_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TITLES = ("part", "state", "found, and what to do")


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Check settings, stores and broker, and advise.

    Prints what to do about each fault. Starts nothing and changes nothing. Exits 1 on any fault.
    """
    found = list(findings(os.environ))
    faults = sum(each.state == "fault" for each in found)
    answer = {"faults": faults, "findings": [asdict(each) for each in found]}
    show(answer, as_json, lambda: _table(found))
    sys.exit(1 if faults else 0)


def findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check the settings of an environment and their stores. Yield a finding for each part."""
    settings, faults = _load_valid(environ)
    for line in faults.lines if faults else ():
        variable, _, text = line.partition(": ")
        yield Finding(variable, "fault", text, "correct the value")
    for variable, nearest in unknown_variables(environ).items():
        yield Finding(variable, "warning", "no setting has this name", f"did you mean {nearest}?")
    wrong = set(faults.messages) if faults else set()
    if not wrong:
        yield Finding("settings", "ok", "every value is accepted")
    yield from _keys(settings, wrong)
    yield from _folder(settings, wrong)
    yield from _stores(settings, wrong)


def _load_valid(environ: Mapping[str, str]) -> tuple[Settings, BadSettings | None]:
    """Load the settings, with defaults for the bad ones. Also return the error that names them."""
    try:
        return load_settings(environ), None
    except BadSettings as faults:
        wrong = {PREFIX + name.upper() for name in faults.messages}
        rest = {name: value for name, value in environ.items() if name not in wrong}
        # Without the bad settings the others load. Rules between settings were checked above.
        return load_settings({**rest, **_stand_ins(faults)}), faults


def _stand_ins(faults: BadSettings) -> dict[str, str]:
    """Return good values for bad settings that other settings require. Nothing connects to them."""
    stand_ins = {"broker_url": "amqp://", "data_dir": os.curdir}
    return {
        PREFIX + name.upper(): value for name, value in stand_ins.items() if name in faults.messages
    }


def _keys(settings: Settings, wrong: set[str]) -> Iterator[Finding]:
    """Check the settings of the token keys, and fetch or read a JWKS."""
    if wrong & {"jwt_secret", "jwt_jwks", "database_url"}:
        return
    if settings.jwt_jwks is not None:
        yield _key_set(settings.jwt_jwks)
    elif settings.jwt_secret is None and settings.database_url is not None:
        yield Finding(
            "keys of tokens",
            "warning",
            "neither a secret nor a JWKS",
            "set FEEDSVC_JWT_SECRET: up, web, token and console need it, worker and beat do not",
        )
    elif settings.jwt_secret is not None:
        yield Finding("keys of tokens", "ok", "a secret")
    else:
        yield _generated_secret(settings)


def _generated_secret(settings: Settings) -> Finding:
    if not (settings.data_dir / datadir.SECRET_FILE).exists():
        return Finding("keys of tokens", "ok", "a secret will be generated in the data folder")
    try:
        datadir.secret(settings.data_dir)
    except FeedsvcError as error:
        return Finding("keys of tokens", "fault", str(error))
    return Finding("keys of tokens", "ok", "the generated secret of the data folder")


def _key_set(address: str) -> Finding:
    try:
        keys = jwks.fetch(address) if jwks.is_url(address) else jwks.read(address)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Finding(
            "keys of tokens",
            "fault",
            f"the JWKS {error}" if isinstance(error, ValueError) else f"no JWKS: {error}",
            "check FEEDSVC_JWT_JWKS and the server behind it",
        )
    return Finding("keys of tokens", "ok", f"a JWKS with {len(keys)} usable keys")


def _folder(settings: Settings, wrong: set[str]) -> Iterator[Finding]:
    """Report the data folder, if the service embeds the database or Valkey."""
    embedded = [
        part
        for part, name in (("database", "database_url"), ("Valkey", "redis_url"))
        if getattr(settings, name) is None and name not in wrong
    ]
    if embedded and "data_dir" not in wrong:
        creation = "" if settings.data_dir.exists() else ", will be made"
        parts = " and ".join(embedded)
        yield Finding(
            "data folder", "ok", f"{settings.data_dir.absolute()}{creation} (for the {parts})"
        )


def _stores(settings: Settings, wrong: set[str]) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    server = None
    if settings.redis_url is None:
        server = valkey.EmbeddedValkey(valkey.socket_path(folder), None)
    at = addresses(settings, folder, server)
    if "database_url" not in wrong:
        if settings.database_url is None and not (folder / datadir.DATABASE_FILE).exists():
            yield Finding("database", "ok", "embedded, made by the first start")
        else:
            yield from ask_database(at.database, settings)
    if "redis_url" in wrong:
        return
    if server is not None and not valkey.answers(server.socket):
        yield Finding("Redis", "ok", "embedded, not running now")
        return
    yield from ask_redis(at.redis)
    if "broker_url" not in wrong:
        yield _broker(at.broker)


def _broker(url: str) -> Finding:
    """Log in to the broker, and ask it for each right that the parts need."""
    with closing(celery_on(url)) as celery:
        try:
            broker.check_rights(celery)
        except StoreUnavailable as error:
            advice = "check FEEDSVC_BROKER_URL; until then posts are visible, and fan-outs wait"
            return Finding("broker", "fault", error.cause, advice)
        except broker.BrokerRefuses as error:
            advice = "docs/operations.md has the lines that allow what the service needs"
            return Finding("broker", "fault", error.cause, advice)
    return Finding("broker", "ok", "takes messages, with every right that is needed")


def _table(found: list[Finding]) -> list[str]:
    """Return the findings in aligned columns. The advice stands on a line below its finding."""
    given = [_TITLES, *((each.part, each.state, each.found) for each in found)]
    rows = [[" ".join(cell.split()) for cell in row] for row in given]
    part, state = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = []
    for row, to_do in zip(rows, ["", *(each.to_do for each in found)], strict=True):
        lines.append(f"{row[0]:<{part}}  {row[1]:<{state}}  {row[2]}")
        if to_do:
            lines.append(" " * (part + state + 4) + f"→ {to_do}")
    return lines
