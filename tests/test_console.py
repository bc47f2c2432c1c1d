"""The console without a browser: sign-in, changes, the content of pages, security headers."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
import types

import pytest
import sqlalchemy as sa

from feedsvc import create_app, formats
from feedsvc.console import accounts as console_accounts
from feedsvc.console import record, session
from feedsvc.console.session import one_time_link
from feedsvc.console.sign_in import COOKIE
from feedsvc.planning.rates import Misfit
from feedsvc.routing import versions
from feedsvc.store.redis import keys
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import LoadSheddingLine
from feedsvc.supervise import demo
from tests.key_server import SigningKey

WRITE = "admin:read admin:write"
ORIGIN = {"Origin": "http://localhost"}
URL = "https://img.example/1.jpg"


@pytest.fixture
def sign_in(client, auth):
    def with_token(scope=WRITE, **claims):
        token = auth(1, scope, **claims)["Authorization"].removeprefix("Bearer ")
        return client.post("/console/sign-in", data={"token": token}, headers=ORIGIN)

    return with_token


@pytest.fixture
def send(client):
    """Return a function that sends a form as pages do: same origin, with the session's secret."""

    def post(path, headers=ORIGIN, **form):
        secret = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/console/").text)[1]
        return client.post(f"/console{path}", data={"csrf_token": secret, **form}, headers=headers)

    return post


def cookie_of(answer):
    [cookie] = [value for name, value in answer.headers if name == "Set-Cookie"]
    return cookie


def value_of(answer):
    return cookie_of(answer).partition(";")[0].partition("=")[2]


def threshold(client, auth):
    return client.get("/v1/admin/threshold", headers=auth(1, "admin:read")).json


# Signing in


def test_an_admin_token_is_exchanged_for_a_protected_cookie(client, sign_in):
    assert client.get("/console/").headers["Location"] == "/console/sign-in"
    signed_in = sign_in()
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/console/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= set(cookie_of(signed_in).split("; "))
    assert client.get("/console/").status_code == 200


@pytest.mark.parametrize(
    "proxied",
    [{"base_url": "https://localhost"}, {"headers": {"X-Forwarded-Proto": "https", **ORIGIN}}],
)
def test_the_cookie_is_secure_over_https(client, auth, proxied):
    token = auth(1, WRITE)["Authorization"].removeprefix("Bearer ")
    answer = client.post(
        "/console/sign-in",
        data={"token": token},
        **{"headers": {"Origin": "https://localhost"}, **proxied},
    )
    assert "Secure" in cookie_of(answer)


def test_the_cookie_is_not_secure_over_http(sign_in):
    assert "Secure" not in cookie_of(sign_in())


@pytest.mark.parametrize(
    ("scope", "claims", "status"),
    [
        ("feed", {}, 403),
        ("service", {}, 403),
        (WRITE, {"exp": 1}, 401),
        (WRITE, {"secret": "x" * 40}, 401),
    ],
)
def test_a_token_that_is_invalid_or_lacks_the_scope_is_refused_with_a_message(
    sign_in, scope, claims, status
):
    answer = sign_in(scope, **claims)
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_session_ends_with_its_token_and_after_an_hour_at_most(client, sign_in, monkeypatch):
    assert "Max-Age=3600" in cookie_of(sign_in(exp=int(time.time()) + 100_000))
    assert int(re.search(r"Max-Age=(\d+)", cookie_of(sign_in(exp=int(time.time()) + 60)))[1]) <= 60
    later = time.time() + 61
    monkeypatch.setattr(session.time, "time", lambda: later)
    assert client.get("/console/").status_code == 303


def test_a_forged_cookie_is_ignored(client, sign_in):
    value = cookie_of(sign_in("admin:read")).partition(";")[0].partition("=")[2]
    payload, _, signature = value.rpartition(".")
    other = (
        base64.urlsafe_b64encode(b'[1,["admin:read","admin:write"],"x",99999999999]')
        .decode()
        .rstrip("=")
    )
    for forged in (other, "", payload[1:]):
        client.set_cookie(COOKIE, f"{forged}.{signature}", path="/console")
        assert client.get("/console/").status_code == 303


def test_the_cookie_is_not_a_token_and_a_token_is_not_a_cookie(client, auth, sign_in):
    token = auth(1, WRITE)["Authorization"].removeprefix("Bearer ")
    client.set_cookie(COOKIE, token, path="/console")
    assert client.get("/console/").status_code == 303
    value = cookie_of(sign_in()).partition(";")[0].partition("=")[2]
    assert (
        client.get("/v1/admin/threshold", headers={"Authorization": f"Bearer {value}"}).status_code
        == 401
    )
    assert client.get("/v1/admin/threshold").status_code == 401, "the API ignores cookies"


def test_a_one_time_link_signs_in_once(client, app):
    link = one_time_link(
        app.extensions["feedsvc"].stores, "http://localhost", 7, ["admin:read", "admin:write"]
    )
    address, code = link.split("#")
    assert client.get(address).status_code == 200, "opening the page does not use the link up"
    assert client.post("/console/sign-in", data={"code": code}, headers=ORIGIN).status_code == 303
    assert "Account 7" in client.get("/console/").text
    again = client.post("/console/sign-in", data={"code": code}, headers=ORIGIN)
    assert again.status_code == 401
    assert "has been used" in again.text


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(client, sign_in, send):
    copy = value_of(sign_in())
    other = value_of(sign_in())
    client.set_cookie(COOKIE, copy, path="/console")
    assert send("/sign-out").headers["Location"] == "/console/sign-in"
    assert client.get("/console/").status_code == 303
    for value, status in ((copy, 303), (other, 200)):
        client.set_cookie(COOKIE, value, path="/console")
        assert client.get("/console/").status_code == status


def test_a_revoked_account_is_signed_out_and_its_links_are_invalid(client, app, sign_in):
    stores = app.extensions["feedsvc"].stores
    link = one_time_link(stores, "http://localhost", 1, ["admin:write"])
    sign_in()
    assert client.get("/console/").status_code == 200
    session.revoke(stores, 1)
    assert client.get("/console/").status_code == 303
    spent = client.post("/console/sign-in", data={"code": link.partition("#")[2]}, headers=ORIGIN)
    assert spent.status_code == 401


def test_a_session_ends_when_the_key_of_its_token_is_removed(settings, tmp_path):
    removed, other = SigningKey("removed"), SigningKey("other")
    token = removed.token(1, scope=WRITE)

    def status(*keys, cookie=None):
        """Start the service with a JWKS file, and return the console's status and the cookie."""
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": [key.public() for key in keys]}))
        with create_app(**{**settings, "jwt_jwks": str(file)}) as app:
            client = app.test_client()
            if cookie is None:
                form = {"token": token}
                cookie = value_of(client.post("/console/sign-in", data=form, headers=ORIGIN))
            client.set_cookie(COOKIE, cookie, path="/console")
            return client.get("/console/").status_code, cookie

    answered, cookie = status(removed, other)
    assert answered == 200
    assert status(removed, other, cookie=cookie)[0] == 200, "a session outlives a restart"
    assert status(other, cookie=cookie)[0] == 303


def test_a_deleted_account_is_signed_out(client, auth, sign_in):
    client.put("/v1/accounts/1", headers=auth(1))
    sign_in()
    assert client.delete("/v1/accounts/1", headers=auth(1)).status_code == 202
    assert client.get("/console/").status_code == 303


def test_redis_has_neither_the_token_nor_the_secret_of_the_cookie(client, app, auth, sign_in):
    token = auth(1, WRITE)["Authorization"].removeprefix("Bearer ")
    signed_in = client.post("/console/sign-in", data={"token": token}, headers=ORIGIN)
    held = repr(app.extensions["feedsvc"].stores.redis.hgetall(keys.console(1)))
    assert token not in held
    payload = value_of(signed_in).partition(".")[0]
    _, ident = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert ident not in held


# Changes


CHANGE = {
    "promote_at": "50",
    "demote_at": "40",
    "rollout_percent": "100",
    "reason": "queue lag",
    "seen": "1",
}


def test_the_threshold_is_reviewed_then_applied_with_its_reason(client, auth, sign_in, send):
    sign_in()
    review = client.get("/console/threshold/confirm", query_string=CHANGE)
    assert "50 / 40" in review.text
    assert "queue lag" in review.text
    assert threshold(client, auth)["version"] == 1, "a review changes nothing"
    assert send("/threshold", **CHANGE).status_code == 303
    now = threshold(client, auth)
    assert (now["promote_at"], now["demote_at"], now["reason"], now["changed_by"]) == (
        50,
        40,
        "queue lag",
        "1",
    )


def test_a_threshold_that_changed_meanwhile_is_not_overwritten(client, auth, sign_in, send):
    sign_in()
    assert send("/threshold", **CHANGE).status_code == 303
    assert send("/threshold", **{**CHANGE, "promote_at": "60"}).status_code == 412
    assert threshold(client, auth)["promote_at"] == 50


def test_an_older_version_is_restored_from_the_record(client, auth, sign_in, send):
    sign_in()
    send("/threshold", **CHANGE)
    asked = client.get("/console/record/roll-back?version=1")
    assert "1,000 / 1,000" in asked.text
    assert (
        send("/record/roll-back", version="1", seen="2", reason="it was better").status_code == 303
    )
    assert threshold(client, auth)["promote_at"] == 1000
    assert "it was better" in client.get("/console/record").text


@pytest.mark.parametrize("version", ["", "0", "3", "2147483648", "9" * 40, "1.0", "x"])
def test_a_version_that_does_not_exist_is_refused(client, sign_in, send, version):
    sign_in()
    assert client.get(f"/console/record/roll-back?version={version}").status_code == 422
    assert send("/record/roll-back", version=version, seen="1", reason="x").status_code == 422


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({"csrf_token": ""}, ORIGIN),
        ({"csrf_token": "x" * 32}, ORIGIN),
        ({}, {}),
        ({}, {"Origin": "http://evil.example"}),
        ({}, {"Origin": "null"}),
        ({}, {**ORIGIN, "Sec-Fetch-Site": "cross-site"}),
        ({}, {**ORIGIN, "Sec-Fetch-Site": "same-site"}),
    ],
)
def test_a_change_from_another_site_or_session_is_refused(
    client, auth, sign_in, send, form, headers
):
    sign_in()
    for path in (
        "/threshold",
        "/record/roll-back",
        "/accounts/pin",
        "/accounts/unpin",
        "/sign-out",
    ):
        assert send(path, **{**CHANGE, **form}, headers=headers).status_code == 403
    assert threshold(client, auth)["version"] == 1


def test_a_sign_in_from_another_site_is_refused(client, auth):
    token = auth(1, WRITE)["Authorization"].removeprefix("Bearer ")
    assert (
        client.post(
            "/console/sign-in", data={"token": token}, headers={"Origin": "http://evil.example"}
        ).status_code
        == 403
    )


def test_a_read_only_session_sees_no_form_and_changes_nothing(client, auth, sign_in, send):
    sign_in("admin:read")
    page = client.get("/console/").text
    assert "read only" in page
    assert 'name="reason"' not in page
    for path in ("/threshold", "/record/roll-back", "/accounts/pin", "/accounts/unpin"):
        assert send(path, **CHANGE).status_code == 403
    assert threshold(client, auth)["version"] == 1


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"promote_at": "30"}, "demote_at"),  # it is above promote_at
        ({"promote_at": "x"}, "promote_at"),
        ({"promote_at": "²"}, "promote_at"),
        ({"reason": ""}, "reason"),
        ({"rollout_percent": "101"}, "rollout_percent"),
    ],
)
def test_a_change_with_a_bad_value_names_the_field(client, auth, sign_in, send, bad, field):
    sign_in()
    answer = send("/threshold", **{**CHANGE, **bad})
    assert answer.status_code == 422
    assert f"<strong>{field}</strong>" in answer.text


PREDICTED = {
    "deliveries_per_day": {"proposed": 5_000.0},
    "lists_per_read": {"mean": {"proposed": 2.5}},
    "processor_seconds_per_day": {"total": {"proposed": None}},
}
MEASURED = {
    "since": "2026-11-24T12:00:00.000Z",
    "until": "2026-11-25T00:00:00.000Z",
    "deliveries": 2_000,
    "delivery_p99_seconds": 0.5,
    "lists_per_read": 2.25,
    "processor_seconds": 60.0,
}


def test_predicted_figures_are_compared_with_measured_figures_of_a_day(stores):
    version = dataclasses.replace(versions.current(stores), predicted=PREDICTED, measured=MEASURED)
    assert [figures for _, *figures in record.compared(version)] == [
        ["5,000", "4,000"],
        ["–", "500 ms"],
        ["2.5", "2.25"],
        ["–", "2 min"],
        ["–", "–"],
    ]
    unmeasured = dataclasses.replace(version, measured=None)
    assert {measured for _, _, measured in record.compared(unmeasured)} == {"–"}
    briefly = dataclasses.replace(
        version, measured={**MEASURED, "since": "2026-11-24T23:59:00.000Z"}
    )
    assert [measured for _, _, measured in record.compared(briefly)][:2] == ["–", "500 ms"], (
        "a minute is too short for a sum of a day"
    )


def test_live_figures_are_null_without_posts_and_reads(client, sign_in):
    sign_in()
    found = client.get("/console/live").json
    assert [found[name]["value"] for name in ("lag", "deliveries", "reads")] == [None, 0.0, None]
    assert found["lag"]["beside"] == "no post was pushed in 5 minutes"


def test_an_account_is_found_pinned_and_unpinned(client, auth, sign_in, send):
    client.put("/v1/accounts/9", headers=auth(9))
    post = client.post(
        "/v1/posts", json={"photo_url": URL, "description": "<b>"}, headers=auth(9)
    ).json
    sign_in()
    found = client.get("/console/accounts?id=9").text
    assert "0 followers are below demote_at 1000" in found
    assert post["id"] in found
    assert "&lt;b&gt;" in found
    assert send("/accounts/pin", id="9", route="pull", reason="loud", days="7").status_code == 303
    assert "pinned by an operator" in client.get("/console/accounts?id=9").text
    assert "loud" in client.get("/console/accounts").text
    assert send("/accounts/unpin", id="9").status_code == 303
    assert "No account is pinned" in client.get("/console/accounts").text


def test_accounts_that_a_pin_would_help_are_listed(client, sign_in, monkeypatch):
    wrong = [Misfit(7, 68_000, 0.0, "pull", "push", 0.5), Misfit(9, 3, 400.0, "push", "pull", 90.0)]
    advice = types.SimpleNamespace(large_but_silent=wrong[:1], small_but_talkative=wrong[1:])
    monkeypatch.setattr(console_accounts, "recommendation", lambda *_: advice)
    sign_in()
    rows = re.findall(
        r'<a href="/console/accounts\?id=(\d)">.*?</tr>',
        client.get("/console/accounts").text,
        re.DOTALL,
    )
    assert rows == ["9", "7"], "the largest saving first"


def test_no_account_is_listed_before_the_first_survey(client, sign_in):
    sign_in()
    assert "No such account is known." in client.get("/console/accounts").text


def test_load_shedding_is_shown_while_it_lasts(client, sign_in, stores):
    sign_in()
    assert "Deliveries lag" not in client.get("/console").text
    with stores.sql.writing() as connection:
        connection.execute(
            sa.insert(LoadSheddingLine),
            {"id": 1, "pull_from": 70, "delivery_seconds": 90.0, "since": now()},
        )
    assert "Deliveries lag by 1.5 min" in client.get("/console").text


def test_the_demo_prints_a_sign_in_link_and_an_account_near_the_threshold(app, client, monkeypatch):
    for name, value in {"_ACCOUNTS": 400, "_POSTS": 6, "_READERS": 3}.items():
        monkeypatch.setattr(demo, name, value)
    printed = "\n".join(demo.load_demo(app.extensions["feedsvc"], "http://localhost"))
    code = re.search(r"http://localhost/console/sign-in#(\S+)", printed)[1]
    assert client.post("/console/sign-in", data={"code": code}, headers=ORIGIN).status_code == 303
    account, followers = re.search(
        r"Account (\d+), with (\d+) followers, is pushed so far", printed
    ).groups()
    assert (
        f"{followers} followers are below demote_at 80"
        in client.get(f"/console/accounts?id={account}").text
    )


def test_a_post_is_explained(client, auth, sign_in):
    client.put("/v1/accounts/9", headers=auth(9))
    post = client.post("/v1/posts", json={"photo_url": URL}, headers=auth(9)).json
    sign_in()
    assert "In the feed: " in client.get(f"/console/explain?viewer=9&post={post['id']}").text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/accounts?id=77", 404), ("/accounts?id=x", 422), ("/explain?viewer=1&post=1", 404)],
)
def test_an_error_is_shown_on_a_page(client, sign_in, path, status):
    sign_in()
    answer = client.get(f"/console{path}")
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert 'role="alert"' in answer.text


# Pages


def test_pages_load_only_files_of_the_service_and_contain_no_inline_code(client, sign_in):
    sign_in()
    for path in ("/", "/record", "/accounts", "/explain"):
        answer = client.get(f"/console{path}")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=|https?://", answer.text
        ), path


def test_a_script_without_a_session_gets_a_problem_document(client):
    answer = client.get("/console/", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1234.5, "1,234"),
        (999_999, "999,999"),
        (2_500_000, "2.5 million"),
        (0.0123, "0.0123"),
        (12.3456, "12.3"),
        (None, "–"),
    ],
)
def test_numbers_are_written_for_people(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.0123, "12.3 ms"),
        (2.5, "2.5 s"),
        (90, "1.5 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert formats.duration(seconds) == text


def test_differences_sizes_and_counts_are_written_for_people():
    assert [formats.signed(value) for value in (5, -5, 0)] == ["+5", "−5", "no change"]
    assert formats.size(1_500_000) == "1.5 MB"
    assert formats.counted(1, "account") == "1 account"
