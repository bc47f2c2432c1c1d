"""Planted errors in the verification of tokens and in what is said about the stores."""

from __future__ import annotations

from tests.planting import Edit, Planted

AUTH = "feedsvc/api/auth.py"
JWKS = "feedsvc/jwks.py"
READINESS = "feedsvc/api/readiness.py"
TESTS = "tests/test_verified_tokens.py"

TOKENS = [
    Planted(
        "accept a token for another audience",
        (Edit(AUTH, '"verify_aud": self._audience is not None', '"verify_aud": False'),),
        (f"{TESTS}::test_audience_and_issuer_are_checked_when_they_are_set",),
    ),
    Planted(
        "sign with an old secret",
        (
            Edit(
                AUTH,
                'return jwt.encode(given, secret, "HS256")',
                'return jwt.encode(given, [secret, *settings.jwt_secrets_old][-1], "HS256")',
            ),
        ),
        (f"{TESTS}::test_an_old_secret_only_verifies",),
    ),
    Planted(
        "verify with a key that is for encryption",
        (Edit(JWKS, 'member.get("use", "sig") == "sig"', 'member.get("use", "sig") != ""'),),
        (f"{TESTS}::test_keys_that_are_not_for_signatures_are_ignored",),
    ),
    Planted(
        "forget the known keys when a fetch fails",
        (
            Edit(
                JWKS,
                '            _log.warning("jwks.fetch_failed"',
                '            self._keys = None\n            _log.warning("jwks.fetch_failed"',
            ),
        ),
        (f"{TESTS}::test_the_last_good_keys_serve_while_fetching_fails",),
    ),
    Planted(
        "fetch for every unknown key id",
        (
            Edit(
                JWKS,
                "if now < self._next_at or (",
                "if (",
            ),
        ),
        (f"{TESTS}::test_unknown_key_ids_cause_one_fetch_in_five_seconds",),
    ),
    Planted(
        "call a token invalid while its key cannot be known",
        (
            Edit(
                JWKS,
                "        if found or (",
                "        if found or True or (",
            ),
        ),
        (f"{TESTS}::test_while_no_keys_are_known_a_token_gets_a_503",),
    ),
    Planted(
        "wait for a slow key server in every request",
        (Edit(JWKS, "self.began + _WAIT_SECONDS - time.monotonic()", "30.0"),),
        (f"{TESTS}::test_a_slow_key_server_is_asked_once_and_occupies_no_request",),
    ),
    Planted(
        "limit each wait for a key server, and not the whole fetch",
        (Edit(JWKS, "        self._timer.start()\n", ""),),
        (f"{TESTS}::test_an_answer_that_drips_is_given_up",),
    ),
    Planted(
        "ask a store in every probe",
        (
            Edit(
                READINESS, "if is_running or time.monotonic()", "if is_running and time.monotonic()"
            ),
        ),
        ("tests/test_readiness.py::test_many_probes_ask_once_a_second",),
    ),
]
