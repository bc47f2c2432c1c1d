"""`token` prints a token for the API. `console` prints a link that signs in to the console."""

from __future__ import annotations

import click

from feedsvc.api.auth import SCOPES, sign
from feedsvc.cli.output import IdParameter, json_option, opened, show
from feedsvc.console.session import one_time_link, revoke
from feedsvc.services import own_secret
from feedsvc.settings import load_settings


@click.command()
@click.option("--account", required=True, type=IdParameter(), help="The token's account.")
@click.option(
    "--scope",
    default="feed",
    show_default=True,
    help=f"Scopes, separated by spaces: {', '.join(SCOPES)}.",
)
@click.option(
    "--ttl",
    default=3600,
    show_default=True,
    type=click.IntRange(1, 10**9),
    help="Seconds until it expires.",
)
@json_option
def token(account: int, scope: str, ttl: int, as_json: bool) -> None:
    """Print a token that is signed with the service's secret."""
    scopes = scope.split()
    if not scopes or not set(scopes) <= set(SCOPES):
        raise click.BadParameter(
            f"must be one or more of {', '.join(SCOPES)}", param_hint="--scope"
        )
    settings = load_settings(for_tokens=True)
    signed = sign(settings, own_secret(settings), account, scopes, ttl)
    show({"token": signed}, as_json, lambda: [signed])


@click.command()
@click.option(
    "--account",
    default="1",
    show_default=True,
    type=IdParameter(),
    help="The account that changes are recorded under.",
)
@click.option("--read-only", is_flag=True, help="Leave out the scope admin:write.")
@click.option(
    "--url",
    help="The address of the running service.  [default: FEEDSVC_PUBLIC_URL, else "
    "http://127.0.0.1:8000]",
)
@click.option(
    "--revoke",
    "is_revoked",
    is_flag=True,
    help="Print no link; end the sessions and the links of the account.",
)
@json_option
def console(
    account: int, read_only: bool, url: str | None, is_revoked: bool, as_json: bool
) -> None:
    """Print a sign-in link for the console.

    It signs one person in, once, within an hour, with the scopes admin:read and admin:write. Give
    --read-only for admin:read alone.
    """
    if is_revoked:
        with opened() as services:
            revoke(services.stores, account)
        show({"revoked": str(account)}, as_json, lambda: [f"account {account} is signed out"])
        return
    scopes = ["admin:read"] if read_only else ["admin:read", "admin:write"]
    with opened(for_tokens=True) as services:
        root = url or services.settings.public_url or "http://127.0.0.1:8000"
        link = one_time_link(services.stores, root.rstrip("/"), account, scopes)
    show({"link": link}, as_json, lambda: [link])
