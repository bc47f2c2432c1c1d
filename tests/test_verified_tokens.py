"""The cache of verified tokens is bounded: by a minute, by a token's expiry and by its size."""

from __future__ import annotations

import types

import jwt
import pytest
from werkzeug.datastructures import Authorization

from feedsvc.api import auth
from feedsvc.api.auth import Authenticator
from feedsvc.api.problems import Unauthorized
from feedsvc.settings import Settings

SECRET = "a secret for tests that is long enough"
NOW = 2_000_000_000


@pytest.fixture
def authenticator(monkeypatch):
    """Make an authenticator with a clock of the test, and record the tokens that it verifies."""
    made = Authenticator(Settings(), SECRET)
    made.clock = types.SimpleNamespace(time=lambda: made.now)
    made.now, made.verified = NOW, []
    verify = made._verify
    monkeypatch.setattr(auth, "time", made.clock)
    monkeypatch.setattr(made, "_verify", lambda token: made.verified.append(token) or verify(token))
    return made


def bearer(account, *, exp=NOW + 600, secret=SECRET):
    return Authorization(
        "bearer",
        token=jwt.encode({"sub": str(account), "scope": "feed", "exp": exp}, secret, "HS256"),
    )


def test_a_token_is_verified_once_a_minute(authenticator):
    for number in range(125):
        authenticator.now = NOW + number
        assert authenticator.caller(bearer(7)).account == 7
    assert len(authenticator.verified) == 3


def test_an_expired_token_is_verified_again(authenticator):
    authenticator.caller(bearer(7, exp=NOW + 10))
    authenticator.now = NOW + 10 + auth._LEEWAY_SECONDS
    authenticator.caller(bearer(7, exp=NOW + 10))
    assert len(authenticator.verified) == 2


def test_each_token_gets_its_own_caller(authenticator):
    assert [authenticator.caller(bearer(account)).account for account in (7, 8, 7)] == [7, 8, 7]
    with pytest.raises(Unauthorized):
        authenticator.caller(bearer(7, secret=SECRET[::-1]))
    with pytest.raises(Unauthorized):
        authenticator.caller(bearer(7, secret=SECRET[::-1]))


def test_a_full_cache_drops_the_token_that_was_verified_first(authenticator, monkeypatch):
    monkeypatch.setattr(auth, "_CACHED_TOKENS", 2)
    for account in (7, 8, 9, 9, 8):
        authenticator.caller(bearer(account))
    assert len(authenticator.verified) == 3
    authenticator.caller(bearer(7))
    assert len(authenticator.verified) == 4
    assert len(authenticator._cache._callers) == 2
