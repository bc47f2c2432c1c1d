"""Tokens: the cache of those that were verified, several secrets, and keys of a key server."""

from __future__ import annotations

import threading
import time
import types
from contextlib import suppress

import jwt
import pytest
from werkzeug.datastructures import Authorization

from feedsvc import create_app, jwks
from feedsvc.api import auth
from feedsvc.api.auth import Authenticator
from feedsvc.api.problems import Unauthorized
from feedsvc.errors import StoreUnavailable
from feedsvc.settings import Settings
from tests.engines import wait_until
from tests.key_server import KeyServer, SigningKey

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


def test_an_old_secret_only_verifies():
    old = SECRET[::-1]
    both = Authenticator(Settings(jwt_secrets_old=("x" * 40, old)), SECRET)
    exp = int(time.time()) + 600
    for secret in (SECRET, old):
        assert both.caller(bearer(7, exp=exp, secret=secret)).account == 7
    with pytest.raises(Unauthorized, match="not valid"):
        both.caller(bearer(7, exp=exp, secret="y" * 40))
    signed = auth.sign(Settings(jwt_secrets_old=(old,)), SECRET, 7, ["feed"], 60)
    assert jwt.decode(signed, SECRET, ["HS256"])["sub"] == "7"


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({}, "lacks the claim aud"),
        ({"aud": "feeds"}, "lacks the claim iss"),
        ({"aud": "others", "iss": "app"}, "another audience"),
        ({"aud": "feeds", "iss": "others"}, "another issuer"),
        ({"aud": ["others", "feeds"], "iss": "app"}, None),
    ],
    ids=["neither", "no-issuer", "other-audience", "other-issuer", "both"],
)
def test_audience_and_issuer_are_checked_when_they_are_set(claims, fault):
    strict = Settings(jwt_audience="feeds", jwt_issuer="app")
    payload = {"sub": "7", "scope": "feed", "exp": time.time() + 60, **claims}
    given = Authorization("bearer", token=jwt.encode(payload, SECRET, "HS256"))
    assert Authenticator(Settings(), SECRET).caller(given).account == 7
    if fault is None:
        assert Authenticator(strict, SECRET).caller(given).account == 7
    else:
        with pytest.raises(Unauthorized, match=fault):
            Authenticator(strict, SECRET).caller(given)
    own = Authorization("bearer", token=auth.sign(strict, SECRET, 7, ["feed"], 60))
    assert Authenticator(strict, SECRET).caller(own).account == 7


@pytest.mark.parametrize("exp", ["1e999", "-1e999", "NaN", '"soon"', "[]", "null"])
def test_an_expiry_that_is_no_time_is_refused(exp):
    payload = f'{{"sub": "7", "scope": "feed", "exp": {exp}}}'.encode()
    signed = jwt.PyJWS().encode(payload, SECRET, "HS256")
    with pytest.raises(Unauthorized):
        Authenticator(Settings(), SECRET).caller(Authorization("bearer", token=signed))


K1, K2 = SigningKey("one"), SigningKey("two")


@pytest.fixture
def key_server(monkeypatch):
    """A key server with one key. A fetch may follow the last one immediately."""
    monkeypatch.setattr(jwks, "_PAUSE_SECONDS", 0)
    server = KeyServer(K1)
    yield server
    server.close()


@pytest.fixture
def by_server(key_server):
    return Authenticator(Settings(jwt_jwks=key_server.url), None)


def accepts(authenticator, given):
    try:
        return authenticator.caller(given).account == 7
    except StoreUnavailable:
        return False


@pytest.mark.parametrize("behaviour", ["reset", "html", "empty", "broken", "garbage"])
def test_while_no_keys_are_known_a_token_gets_a_503(key_server, by_server, behaviour):
    key_server.behaviour = behaviour
    with pytest.raises(StoreUnavailable, match="key server") as unavailable:
        by_server.caller(K1.bearer(7))
    assert unavailable.value.retry_after_seconds > 0
    key_server.behaviour = "good"
    assert accepts(by_server, K1.bearer(7))


@pytest.mark.parametrize("behaviour", ["reset", "html", "empty", "broken"])
def test_the_last_good_keys_serve_while_fetching_fails(
    key_server, by_server, behaviour, monkeypatch
):
    monkeypatch.setattr(jwks, "_FRESH_SECONDS", -1)
    assert accepts(by_server, K1.bearer(7))
    key_server.behaviour = behaviour
    before = key_server.fetches
    for number in range(3):
        assert by_server.caller(K1.bearer(8 + number)).account == 8 + number
    wait_until(lambda: key_server.fetches > before)
    with pytest.raises(StoreUnavailable):
        by_server.caller(K2.bearer(7))
    assert by_server.caller(K1.bearer(20)).account == 20
    key_server.keys, key_server.behaviour = [K2.public()], "good"
    wait_until(lambda: accepts(by_server, K2.bearer(7)))
    with pytest.raises(Unauthorized):
        by_server.caller(K1.bearer(7))


def test_unknown_key_ids_cause_one_fetch_in_five_seconds(key_server, by_server, monkeypatch):
    monkeypatch.setattr(jwks, "_PAUSE_SECONDS", 1000)
    assert accepts(by_server, K1.bearer(7))
    with pytest.raises(Unauthorized):
        by_server.caller(K2.bearer(7))
    assert key_server.fetches == 2
    for number in range(50):
        with pytest.raises(StoreUnavailable) as unavailable:
            by_server.caller(K2.bearer(7, kid=f"unknown {number}"))
    assert unavailable.value.retry_after_seconds > 900
    with pytest.raises(Unauthorized):
        by_server.caller(K2.bearer(7))
    assert by_server.caller(K1.bearer(9)).account == 9
    assert key_server.fetches == 2


def test_a_new_key_is_known_at_its_first_token(key_server, by_server):
    assert accepts(by_server, K1.bearer(7))
    key_server.keys.append(K2.public())
    assert accepts(by_server, K2.bearer(7))
    assert accepts(by_server, K1.bearer(7))


def test_a_slow_key_server_is_asked_once_and_occupies_no_request(
    key_server, by_server, monkeypatch
):
    monkeypatch.setattr(jwks, "_WAIT_SECONDS", 0.05)
    key_server.behaviour = "slow"
    refused = []

    def ask(account):
        try:
            by_server.caller(K1.bearer(account))
        except StoreUnavailable as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(account,)) for account in range(1, 21)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 2
    assert (len(refused), key_server.fetches) == (20, 1)
    key_server.released.set()
    wait_until(lambda: accepts(by_server, K1.bearer(7)))
    assert key_server.fetches == 1


def test_a_request_waits_only_for_a_fetch_that_has_started(key_server, monkeypatch):
    source, start, beside = jwks.KeyServer(key_server.url), threading.Thread.start, []

    def starting(thread):
        if source._running is not None:
            source._running.wait()
        beside.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    with suppress(StoreUnavailable):  # the fetch takes too long on a busy machine
        source.matching(None)
    assert beside


def test_an_answer_that_drips_is_given_up(key_server, by_server, monkeypatch):
    monkeypatch.setattr(jwks, "_FETCH_SECONDS", 0.3)
    key_server.behaviour = "drip"
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no whole answer"):
        jwks.fetch(key_server.url)
    assert time.monotonic() - began < 2
    assert not accepts(by_server, K1.bearer(7))


def test_keys_that_are_not_for_signatures_are_ignored(key_server, by_server):
    key_server.keys = [
        None,
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
        {"kty": "unknown", "kid": "one"},
        {"kty": "RSA", "n": 5, "e": [], "kid": "one"},
        {"kty": ["EC"], "alg": {}, "kid": "one"},
        K2.public(kid="one", use="enc"),
        K2.public(kid="one", key_ops=["sign"]),
        K2.public(kid="one", alg="RS512"),
        K1.public(),
        K1.public(use="sig", key_ops=["verify"], alg="EdDSA"),
        K2.public(use=["sig"]),
    ]
    assert accepts(by_server, K1.bearer(7))
    for given in (K2.bearer(7), K2.bearer(7, kid="one")):
        with pytest.raises(Unauthorized):
            by_server.caller(given)


def test_a_key_server_that_fails_is_a_503_of_v1_and_nothing_else(settings, key_server):
    key_server.behaviour = "html"
    with create_app(**settings, jwt_jwks=key_server.url) as app:
        client, headers = app.test_client(), {"Authorization": f"Bearer {K1.token(7)}"}
        answer = client.get("/v1/feed", headers=headers)
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200
        key_server.behaviour = "good"
        assert client.get("/v1/feed", headers=headers).status_code == 200
