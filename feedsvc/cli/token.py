"""`token`: a token to try the service with."""

from __future__ import annotations

import time

import click
import jwt

from feedsvc.api.auth import SCOPES
from feedsvc.cli.output import AccountId, json_option, show
from feedsvc.embedded import datadir
from feedsvc.errors import FeedsvcError
from feedsvc.settings import Settings, load_settings


@click.command()
@click.option(
    "--account", required=True, type=AccountId(), help="The account that the token speaks for."
)
@click.option("--scope", default="feed", show_default=True, help="Scopes, separated by spaces.")
@click.option(
    "--ttl",
    default=3600,
    show_default=True,
    type=click.IntRange(1, 10**9),
    help="Seconds until it expires.",
)
@json_option
def token(account: int, scope: str, ttl: int, as_json: bool) -> None:
    """Print a token signed with the service's key."""
    unknown = set(scope.split()) - set(SCOPES)
    if unknown or not scope.split():
        raise click.BadParameter(f"must be of {', '.join(SCOPES)}", param_hint="--scope")
    made = sign(load_settings(), account, " ".join(scope.split()), ttl)
    show({"token": made}, as_json, lambda: [made])


def sign(settings: Settings, account: int, scope: str, ttl_seconds: int) -> str:
    """A token signed with the service's secret. Raises `FeedsvcError` where somebody else signs."""
    if settings.jwt_jwks is not None:
        raise FeedsvcError(
            "tokens are signed by whoever owns the keys of FEEDSVC_JWT_JWKS, not here"
        )
    secret = settings.jwt_secret or datadir.secret(datadir.prepare(settings.data_dir))
    issued_at = int(time.time())
    claims = {"sub": str(account), "scope": scope, "iat": issued_at, "exp": issued_at + ttl_seconds}
    return jwt.encode(claims, secret, "HS256")
