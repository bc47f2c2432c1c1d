"""The HTTP contract: permissions, accepted values, and the answers to errors."""

from __future__ import annotations

import base64
import hmac
import io
import json
import time
from http import HTTPStatus

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from feedsvc import create_app
from feedsvc.paging import Kind, Newer, Older, decode, encode

URL = "https://img.example/1.jpg"
BIG = 2**63 - 1
BAD_IDS = [
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "abc",
    "1_0",
    "%D9%A3",
    "%EF%BC%91",
    "9223372036854775808",
    "1%00",
    "%20%31",
]


def is_problem(answer, status, location=None, field=None):
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.content_type == "application/problem+json"
    body = answer.json
    assert {"type", "title", "status", "detail", "request_id"} <= body.keys()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    if location:
        assert list(body["errors"]) == [location], body
    if field:
        assert field in body["errors"][location], body
    return True


@pytest.fixture
def nine(client, auth):
    """Create account 9, and return a function that counts its posts."""
    client.put("/v1/accounts/9", headers=auth(9))
    return lambda: len(client.get("/v1/accounts/9/posts", headers=auth(9)).json["data"])


def post(client, auth, body, **more):
    options = {"content_type": "application/json", "headers": auth(9), **more}
    return client.post(
        "/v1/posts", data=body if isinstance(body, str | bytes) else json.dumps(body), **options
    )


# Tokens


@pytest.mark.parametrize(
    "path", ["/v1/feed", "/v1/nothing", "/v1/accounts/abc", "/v1/posts?ids=x", "/v1"]
)
@pytest.mark.parametrize(
    "header",
    [None, "Basic YTpi", "Bearer", "Bearer ", "Bearer x.y.z", "bearer", "Bearer " + "A" * 5000],
)
def test_every_path_under_v1_answers_401_without_a_valid_token(client, path, header):
    answer = client.get(path, headers={"Authorization": header} if header else {})
    assert is_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="feedsvc"')


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"sub": None},
        {"scope": None},
        {"scope": ["feed"]},
        {"sub": "0"},
        {"sub": "me"},
        {"sub": str(2**63)},
        {"exp": "soon"},
        {"secret": "another secret that is long enough for HS256"},
        {"algorithm": "HS512"},
        {"nbf": int(time.time()) + 600},
    ],
)
def test_an_invalid_token_is_refused(client, auth, claims):
    answer = client.get("/v1/feed", headers=auth(9, **claims))
    assert is_problem(answer, 401)
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_token_without_a_signature_is_refused(client):
    token = jwt.encode({"sub": "9", "scope": "feed", "exp": time.time() + 60}, None, "none")
    assert is_problem(client.get("/v1/feed", headers={"Authorization": f"Bearer {token}"}), 401)


def test_an_expired_token_counts_for_five_more_seconds(client, auth):
    assert client.get("/v1/feed", headers=auth(9, exp=int(time.time()) - 1)).status_code == 200
    assert is_problem(client.get("/v1/feed", headers=auth(9, exp=int(time.time()) - 7)), 401)


def test_each_key_of_a_jwks_file_verifies_its_own_algorithm_only(settings, tmp_path):
    keys = {
        "RS256": (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
        "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
        "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
    }
    published = [
        json.loads(kind.to_jwk(key.public_key())) | {"kid": name, "alg": name}
        for name, (key, kind) in keys.items()
    ]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": published}))
    app = create_app(**settings, jwt_jwks=str(tmp_path / "jwks.json"))
    client, claims = app.test_client(), {"sub": "9", "scope": "feed", "exp": time.time() + 60}

    def ask(token):
        return client.get("/v1/feed", headers={"Authorization": f"Bearer {token}"})

    for name, (key, _) in keys.items():
        assert ask(jwt.encode(claims, key, name, {"kid": name})).status_code == 200
    public = (
        keys["RS256"][0]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert is_problem(ask(forged(claims, public)), 401)
    assert is_problem(ask(jwt.encode(claims, settings["jwt_secret"], "HS256")), 401)
    assert is_problem(ask(jwt.encode(claims, keys["ES256"][0], "ES256", {"kid": "RS256"})), 401)
    assert is_problem(ask(jwt.encode(claims, keys["ES256"][0], "ES256", {"kid": "nobody"})), 401)
    app.extensions["feedsvc"].close()


def forged(claims, public_key):
    """Sign a token with the public key as a shared secret, which JWT libraries refuse to do."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "RS256"}, claims)
    ]
    signature = hmac.digest(public_key, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


# Scopes


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/feed", "admin:read"),
        ("GET", "/v1/feed?limit=x&cursor=", ""),
        ("POST", "/v1/posts", "admin:write"),
        ("PUT", "/v1/accounts/abc", "admin:read"),
        ("POST", "/v1/follows/batch", "feed"),
        ("GET", "/v1/admin/threshold", "feed service"),
        ("PUT", "/v1/admin/threshold", "admin:read"),
        ("PUT", "/v1/admin/accounts/x/route", "admin:read feed service"),
    ],
)
def test_the_scope_is_checked_before_path_query_and_body(client, auth, method, path, scope):
    assert is_problem(client.open(path, method=method, headers=auth(9, scope)), 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/accounts/8"),
        ("DELETE", "/v1/accounts/8"),
        ("POST", "/v1/accounts/8/posts"),
        ("GET", "/v1/accounts/8/feed"),
        ("PUT", "/v1/accounts/8/following/9"),
        ("DELETE", "/v1/accounts/8/following/9"),
        ("DELETE", "/v1/accounts/8/followers/9"),
        ("PUT", "/v1/accounts/8/mutes/9"),
        ("GET", "/v1/accounts/8/mutes"),
        ("DELETE", "/v1/accounts/8/blocks/9"),
        ("GET", "/v1/accounts/8/blocks"),
    ],
)
def test_only_the_backend_may_act_for_another_account(client, auth, method, path):
    for account in (8, 9):
        client.put(f"/v1/accounts/{account}", headers=auth(1, "service"))
    body = {"json": {"photo_url": URL}} if method == "POST" else {}
    assert is_problem(client.open(path, method=method, headers=auth(9), **body), 403)
    assert client.open(path, method=method, headers=auth(1, "service"), **body).status_code < 300


def test_only_its_author_and_the_backend_may_change_a_post(client, auth, nine):
    made = post(client, auth, {"photo_url": URL}).json
    path = f"/v1/posts/{made['id']}"
    assert is_problem(client.delete(path, headers=auth(8)), 403)
    assert is_problem(client.patch(path, json={"description": "x"}, headers=auth(8)), 403)
    assert client.get(path, headers=auth(8)).json == made
    assert (
        client.patch(path, json={"description": "x"}, headers=auth(1, "service")).json[
            "description"
        ]
        == "x"
    )
    assert [client.delete(path, headers=auth(9)).status_code for _ in range(2)] == [204, 204]
    assert is_problem(client.delete(path, headers=auth(8)), 403)
    assert is_problem(client.get(path, headers=auth(9)), 404)


def test_an_account_is_hidden_from_the_accounts_that_it_blocks(client, auth, nine):
    made = post(client, auth, {"photo_url": URL}).json
    client.put("/v1/accounts/8", headers=auth(8))
    client.put("/v1/accounts/me/blocks/8", headers=auth(9))
    for path in (
        f"/v1/posts/{made['id']}",
        "/v1/accounts/9",
        "/v1/accounts/9/posts",
        "/v1/accounts/9/followers",
    ):
        assert is_problem(client.get(path, headers=auth(8)), 404)
        assert client.get(path, headers=auth(1, "service")).status_code == 200
    assert client.get(f"/v1/posts?ids={made['id']}", headers=auth(8)).json["data"] == []
    assert is_problem(client.put("/v1/accounts/me/following/9", headers=auth(8)), 404)
    assert is_problem(client.put("/v1/accounts/me/following/8", headers=auth(9)), 403)


# Bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("nonsense", 400),
        (b"\xff\xfe", 400),
        (b'{"photo_url": "\xff"}', 400),
        ('{"photo_url": NaN}', 400),
        ('{"photo_url": ' + "9" * 10_000 + "}", 400),
        ("[" * 200_000, 400),
        ('{"a":' * 100_000, 400),
        ("null", 422),
        ("[]", 422),
        ('"text"', 422),
        ("{}", 422),
        ({"photo_url": 5}, 422),
        ({"photo_url": None}, 422),
        ({"photo_url": [URL]}, 422),
        ({"photo_url": URL, "more": 1}, 422),
        ({"photo_url": URL, "\ud800": 1}, 422),
        ({"photo_url": URL, "description": 5}, 422),
        ({"photo_url": URL, "description": None}, 422),
        ({"photo_url": URL, "description": "x" * 2201}, 422),
        ({"photo_url": URL, "description": "a\x00b"}, 422),
        ('{"photo_url": "https://x/y", "description": "\\ud800"}', 422),
        ({"photo_url": "ftp://x/y"}, 422),
        ({"photo_url": "//x/y"}, 422),
        ({"photo_url": "https://"}, 422),
        ({"photo_url": "https:///path"}, 422),
        ({"photo_url": "https://x y/"}, 422),
        ({"photo_url": "https://x/\n"}, 422),
        ({"photo_url": "https://x:port/"}, 422),
        ({"photo_url": "javascript:alert(1)"}, 422),
        ({"photo_url": "https://x/" + "y" * 2039}, 422),
        ("x" * 1_048_577, 413),
    ],
)
def test_a_bad_upload_is_refused_and_changes_nothing(client, auth, nine, body, status):
    assert is_problem(post(client, auth, body), status, "json" if status == 422 else None)
    assert nine() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"photo_url": "https://x/" + "y" * 2038},
        {"photo_url": "http://localhost:8000/a?b#c", "description": "x" * 2200},
    ],
)
def test_the_longest_fields_are_accepted(client, auth, nine, body):
    assert post(client, auth, body).status_code == 201


def test_any_unicode_text_comes_back_unchanged(client, auth, nine):
    text = "🌇 ﷽ \u0007 \u2028 \U0010ffff e\u0301 </script>"
    assert post(client, auth, {"photo_url": URL, "description": text}).json["description"] == text
    assert client.get("/v1/feed", headers=auth(9)).json["data"][0]["description"] == text


@pytest.mark.parametrize(
    ("length", "status"), [(1_048_576, 400), (1_048_577, 413), (3_000_000, 413)]
)
def test_a_chunked_body_over_1_mib_is_refused(client, auth, nine, length, status):
    sent = {
        "input_stream": io.BytesIO(b" " * length),
        "environ_base": {"wsgi.input_terminated": True},
    }
    headers = {**auth(9), "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    assert is_problem(client.post("/v1/posts", headers=headers, **sent), status)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"],
)
def test_a_body_of_another_media_type_is_refused(client, auth, nine, content_type):
    assert is_problem(post(client, auth, {"photo_url": URL}, content_type=content_type), 415)


@pytest.mark.parametrize(
    "body",
    [
        {"promote_at": 5, "demote_at": 6, "reason": "x"},
        {"promote_at": 5, "demote_at": 0, "reason": "x"},
        {"promote_at": "5", "demote_at": 5, "reason": "x"},
        {"promote_at": 5.0, "demote_at": 5, "reason": "x"},
        {"promote_at": True, "demote_at": True, "reason": "x"},
        {"promote_at": 2**63, "demote_at": 5, "reason": "x"},
        {"promote_at": 5, "demote_at": 5},
        {"promote_at": 5, "demote_at": 5, "reason": ""},
        {"promote_at": 5, "demote_at": 5, "reason": "x", "rollout_percent": 101},
    ],
)
def test_a_bad_threshold_is_refused_and_changes_nothing(client, auth, body):
    headers = {**auth(1, "admin:write"), "If-Match": "*"}
    assert is_problem(client.put("/v1/admin/threshold", json=body, headers=headers), 422, "json")
    assert client.get("/v1/admin/threshold", headers=auth(1, "admin:read")).json["version"] == 1


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_valid_items(client, auth, count):
    line = {"follower": "1", "followee": "2", "action": "follow"}
    for item in (line, 5):
        answer = client.post("/v1/follows/batch", json=[item] * count, headers=auth(1, "service"))
        assert is_problem(answer, 422, "json")
        assert answer.json["errors"]["json"] == {"_schema": ["Must be a list of 1 to 1000 items."]}
    line["action"] = "block"
    assert is_problem(
        client.post("/v1/follows/batch", json=[line], headers=auth(1, "service")), 422, "json"
    )


# Addresses and queries


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_invalid_id_is_refused_in_path_query_and_body(client, auth, nine, bad):
    for path in (f"/v1/accounts/{bad}", f"/v1/posts/{bad}", f"/v1/accounts/me/following/{bad}"):
        assert is_problem(client.get(path, headers=auth(9)), 422, "path")
    assert is_problem(client.get(f"/v1/posts?ids=1,{bad}", headers=auth(9)), 422, "query", "ids")
    line = {"follower": bad, "followee": "2", "action": "follow"}
    assert is_problem(
        client.post("/v1/follows/batch", json=[line], headers=auth(1, "service")), 422, "json"
    )


def test_the_largest_id_is_accepted(client, auth):
    assert client.put(f"/v1/accounts/{BIG}", headers=auth(BIG)).json["id"] == str(BIG)
    assert client.get(f"/v1/posts/{BIG}", headers=auth(BIG)).status_code == 404


@pytest.mark.parametrize(
    "limit",
    ["", "abc", "1_0", "+5", "%205", "%D9%A5", "0", "-1", "101", "1.0", "9" * 30, "5&limit=6"],
)
def test_a_limit_out_of_range_is_refused(client, auth, limit):
    for path in ("/v1/feed", "/v1/accounts/me/following"):
        assert is_problem(
            client.get(f"{path}?limit={limit}", headers=auth(9)), 422, "query", "limit"
        )


@pytest.mark.parametrize("query", ["more=1", "Limit=5", "cursor=x&cursor=y"])
def test_an_unknown_or_repeated_query_parameter_is_refused(client, auth, query):
    assert is_problem(client.get(f"/v1/feed?{query}", headers=auth(9)), 422, "query")


@pytest.mark.parametrize(
    ("path", "body", "part", "errors"),
    [
        ("posts", [], "JSON body", {"json": {"_schema": ["Must be a JSON object."]}}),
        (
            "posts",
            {"photo_url": 7, "size": 1},
            "JSON body",
            {"json": {"photo_url": ["Must be a string."], "size": ["Unknown field."]}},
        ),
        (
            "feed?limit=0",
            None,
            "query",
            {"query": {"limit": ["Must be an integer between 1 and 100."]}},
        ),
    ],
)
def test_a_refusal_names_each_value_and_what_is_accepted(client, auth, path, body, part, errors):
    method = "GET" if body is None else "POST"
    answer = client.open(f"/v1/{path}", method=method, json=body, headers=auth(9))
    assert is_problem(answer, 422)
    assert answer.json["errors"] == errors
    assert answer.json["detail"] == (
        f"The {part} has invalid values: errors names each one and what is accepted."
    )


@pytest.mark.parametrize("path", ["v1/posts/1", "v1/feed", "nowhere", "docs/nothing"])
def test_the_title_of_a_problem_is_the_phrase_of_its_status(client, auth, path):
    """RFC 9457 asks for it, whichever part of the service answers."""
    for headers in ({}, auth(9)):
        answer = client.delete(f"/{path}", headers=headers)
        if answer.status_code >= 400:
            assert answer.json["title"] == HTTPStatus(answer.status_code).phrase


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%00",
        "AAAA",
        "ü",
        encode(Kind.PROFILE, Older(5)),
        encode(Kind.FEED, Older(5))[:-1],
        "A" * 9000,
        "WTvacwE",  # a body of one byte under its checksum
    ],
)
def test_a_damaged_cursor_and_one_of_another_list_are_refused(client, auth, cursor):
    assert is_problem(client.get("/v1/feed", query_string={"cursor": cursor}, headers=auth(9)), 400)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.FEED, "/v1/feed"),
        (Kind.PROFILE, "/v1/accounts/9/posts"),
        (Kind.FOLLOWING, "/v1/accounts/9/following"),
        (Kind.FOLLOWERS, "/v1/accounts/9/followers"),
        (Kind.MUTES, "/v1/accounts/9/mutes"),
        (Kind.BLOCKS, "/v1/accounts/9/blocks"),
        (Kind.THRESHOLD_HISTORY, "/v1/admin/threshold/history"),
        (Kind.PINS, "/v1/admin/pins"),
    ],
)
def test_every_list_reads_the_cursors_of_all_positions(client, auth, nine, kind, path):
    """Anybody can make a cursor: its checksum is no secret."""
    headers = auth(9, "feed admin:read")
    for position in (1, 2**31 - 1, 2**31, 2**63 - 1):
        newer = (Newer(position), Newer(0, (position,)))
        for cursor in (Older(position), Older(position + 1), *newer):
            query = {"cursor": encode(kind, cursor)}
            answer = client.get(path, query_string=query, headers=headers)
            assert answer.status_code == 200, (cursor, answer.json)
            assert decode(kind, answer.json["page"]["prev_cursor"])


@pytest.mark.parametrize("ids", ["", ",", "1,", "1 2", ",".join(map(str, range(1, 102)))])
def test_a_bad_list_of_ids_is_refused(client, auth, ids):
    assert is_problem(
        client.get("/v1/posts", query_string={"ids": ids}, headers=auth(9)), 422, "query", "ids"
    )


def test_an_unknown_address_or_object_is_a_404_and_a_wrong_method_a_405(client, auth):
    assert is_problem(client.get("/v1/nothing", headers=auth(9)), 404)
    assert is_problem(client.get("/nothing", headers={"Accept": "text/html"}), 404)
    answer = client.post("/v1/feed", headers=auth(9))
    assert is_problem(answer, 405)
    assert "GET" in answer.headers["Allow"]
    for path in (
        "/v1/accounts/8",
        "/v1/accounts/8/posts",
        "/v1/accounts/8/followers",
        "/v1/accounts/me/following/8",
    ):
        assert is_problem(client.get(path, headers=auth(9)), 404)
    assert is_problem(client.put("/v1/accounts/me/following/8", headers=auth(9)), 404)
    assert is_problem(client.put("/v1/accounts/me/following/9", headers=auth(9)), 422)


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 128])
def test_a_sane_request_id_is_returned(client, given):
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "ü", "<script>"])
def test_a_bad_request_id_is_replaced(client, given):
    answer = client.get("/nothing", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] not in ("", given)


# Answers


def test_a_change_of_the_threshold_needs_the_etag_of_the_current_version(client, auth):
    read, write, path = auth(1, "admin:read"), auth(1, "admin:write"), "/v1/admin/threshold"
    body = {"promote_at": 5, "demote_at": 3, "reason": "x"}
    assert client.get(path, headers=read).headers["ETag"] == '"1"'
    assert is_problem(client.put(path, json=body, headers=write), 428)
    for stale in ('"2"', "1", "nonsense", '"١"', '"7", "2"', '"1" "1"', '"1", *', '"1', '"01"'):
        assert is_problem(
            client.put(
                path, json=body, headers={**write, "If-Match": stale.encode().decode("latin-1")}
            ),
            412,
        )
    changed = client.put(path, json=body, headers={**write, "If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"], changed.json["changed_by"]) == (
        200,
        '"2"',
        "1",
    )
    assert is_problem(client.put(path, json=body, headers={**write, "If-Match": '"1"'}), 412)
    back = client.post(
        f"{path}/rollback",
        json={"version": 1, "reason": "back"},
        headers={**write, "If-Match": "*"},
    )
    assert (back.json["version"], back.json["promote_at"]) == (3, 1000)
    assert [
        version["version"] for version in client.get(f"{path}/history", headers=read).json["data"]
    ] == [3, 2, 1]
    unknown = client.post(
        f"{path}/rollback", json={"version": 9, "reason": "x"}, headers={**write, "If-Match": "*"}
    )
    assert is_problem(unknown, 422, "json", "version")


@pytest.mark.parametrize(
    "given",
    ['"7", "1"', '"1","7"', 'W/"1"', 'W/"7", W/"1"', ' "1" ', '"x", "1",', '"a,b", "1"', "*"],
)
def test_if_match_is_a_list_of_etags_one_of_which_is_current(client, auth, given):
    headers = {**auth(1, "admin:write"), "If-Match": given}
    body = {"promote_at": 5, "demote_at": 3, "reason": "x"}
    assert client.put("/v1/admin/threshold", json=body, headers=headers).json["version"] == 2
    limits = {"reason": "x"}
    changed = client.put("/v1/admin/threshold/guardrails", json=limits, headers=headers)
    assert changed.headers["ETag"] == '"2"'
    back = client.post(
        "/v1/admin/threshold/rollback",
        json={"version": 1, "reason": "x"},
        headers={**headers, "If-Match": given.replace("1", "2")},
    )
    assert back.json["version"] == 3
    if given != "*":
        assert is_problem(client.put("/v1/admin/threshold", json=body, headers=headers), 412)


def test_a_pin_is_set_listed_and_removed(client, auth, nine):
    read, write, path = auth(1, "admin:read"), auth(1, "admin:write"), "/v1/admin/accounts/9/route"
    assert client.get(path, headers=read).json["route"] == "push"
    pinned = client.put(
        path,
        json={"route": "pull", "reason": "x", "expires_at": "2099-01-01T00:00:00Z"},
        headers=write,
    )
    assert (pinned.status_code, pinned.json["route"], pinned.json["pin"]["expires_at"]) == (
        200,
        "pull",
        "2099-01-01T00:00:00.000Z",
    )
    assert [
        pin["account_id"] for pin in client.get("/v1/admin/pins", headers=read).json["data"]
    ] == ["9"]
    made = post(client, auth, {"photo_url": URL}).json
    assert client.get(f"/v1/admin/fanouts/{made['id']}", headers=read).json["state"] == "done"
    assert client.delete(path, headers=write).status_code == 204
    assert client.get(path, headers=read).json["pin"] is None
    for bad in (
        {"route": "x", "reason": "y"},
        {"route": "pull"},
        {"route": "pull", "reason": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"route": "pull", "reason": "x", "expires_at": "9999-12-31T23:59:59-01:00"},
        {"route": "pull", "reason": "x", "expires_at": "0001-01-01T00:00:00+01:00"},
        {"route": "pull", "reason": "x", "expires_at": "2099-W01-1T00:00:00Z"},
    ):
        assert is_problem(client.put(path, json=bad, headers=write), 422, "json")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2099-01-01t00:00:00z", "2099-01-01T00:00:00.000Z"),
        ("2098-12-31T23:59:60Z", "2099-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59.000Z"),
    ],
)
def test_the_end_of_a_pin_is_kept(client, auth, nine, given, kept):
    body = {"route": "pull", "reason": "x", "expires_at": given}
    path = "/v1/admin/accounts/9/route"
    assert client.put(path, json=body, headers=auth(1, "admin:write")).status_code == 200
    assert client.get(path, headers=auth(1, "admin:read")).json["pin"]["expires_at"] == kept


def test_a_repeated_idempotency_key_gets_the_first_answer_again(client, auth, nine):
    first = post(client, auth, {"photo_url": URL}, headers={**auth(9), "Idempotency-Key": "k"})
    again = post(
        client, auth, f'{{ "photo_url":  "{URL}" }}', headers={**auth(9), "Idempotency-Key": "k"}
    )
    assert (again.status_code, again.json, again.headers["Idempotency-Replayed"]) == (
        201,
        first.json,
        "true",
    )
    assert again.headers["Location"] == first.headers["Location"] == f"/v1/posts/{first.json['id']}"
    assert "Idempotency-Replayed" not in first.headers
    other = post(
        client,
        auth,
        {"photo_url": URL, "description": "x"},
        headers={**auth(9), "Idempotency-Key": "k"},
    )
    assert is_problem(other, 422, "headers", "Idempotency-Key")
    for bad in ("", "x" * 256):
        answer = post(client, auth, {"photo_url": URL}, headers={**auth(9), "Idempotency-Key": bad})
        assert is_problem(answer, 422, "headers", "Idempotency-Key")
    assert nine() == 1


def test_pages_are_linked_and_walk_both_ways(client, auth, nine):
    made = [post(client, auth, {"photo_url": URL}).json for _ in range(5)][::-1]
    first = client.get("/v1/feed?limit=2", headers=auth(9))
    assert first.json["data"] == made[:2]
    links = dict(reversed(part.split("; ")) for part in first.headers["Link"].split(", "))
    following = client.get(links['rel="next"'].strip("<>"), headers=auth(9))
    assert following.json["data"] == made[2:4]
    assert "limit=2" in links['rel="prev"']
    last = client.get(
        "/v1/feed",
        query_string={"limit": 2, "cursor": following.json["page"]["next_cursor"]},
        headers=auth(9),
    ).json
    assert (last["data"], last["page"]["next_cursor"]) == (made[4:], None)
    back = client.get(
        "/v1/feed",
        query_string={"limit": 2, "cursor": following.json["page"]["prev_cursor"]},
        headers=auth(9),
    ).json
    assert back["data"] == made[:2]


def test_the_first_call_or_a_put_creates_an_account(client, auth):
    assert [client.put("/v1/accounts/me", headers=auth(5)).status_code for _ in range(2)] == [
        201,
        200,
    ]
    assert client.get("/v1/feed", headers=auth(6)).json["data"] == []
    assert client.get("/v1/accounts/6", headers=auth(5)).json == {
        "id": "6",
        "follower_count": 0,
        "following_count": 0,
        "route": "push",
    }
    assert client.delete("/v1/accounts/me", headers=auth(6)).status_code == 202
    assert is_problem(client.get("/v1/accounts/6", headers=auth(5)), 404)
    assert is_problem(client.get("/v1/accounts/77/feed", headers=auth(1, "service")), 404)


def test_posts_are_returned_in_the_order_of_the_ids(client, auth, nine):
    one, two = (post(client, auth, {"photo_url": URL}).json for _ in range(2))
    asked = f"{two['id']},5,{one['id']},{two['id']}"
    assert client.get(f"/v1/posts?ids={asked}", headers=auth(9)).json["data"] == [two, one]


def test_the_bare_address_redirects_to_the_documentation(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/docs")


def test_health_metrics_and_documentation_need_no_token(client):
    assert client.get("/healthz").json["status"] == "ok"
    assert client.get("/readyz").json["status"] == "ready"
    assert "feedsvc_http_requests_total{" in client.get("/metrics").text
    with (
        client.get("/docs") as page,
        client.get("/docs/static/swagger-ui/swagger-ui-bundle.js") as script,
    ):
        assert "https://" not in page.text, "no CDN"
        assert script.status_code == 200


def test_two_applications_in_one_process_share_nothing(tmp_path, auth):
    apps = [create_app(data_dir=str(tmp_path / name), jwt_secret="x" * 40) for name in "ab"]
    token = jwt.encode({"sub": "9", "scope": "feed", "exp": time.time() + 60}, "x" * 40, "HS256")
    headers = {"Authorization": f"Bearer {token}"}
    one, two = (app.test_client() for app in apps)
    assert one.post("/v1/posts", json={"photo_url": URL}, headers=headers).status_code == 201
    assert len(one.get("/v1/feed", headers=headers).json["data"]) == 1
    assert two.get("/v1/feed", headers=headers).json["data"] == []
    for app in apps:
        app.extensions["feedsvc"].close()


def test_everything_in_the_openapi_document_has_an_example(client):
    document = client.get("/openapi.json").get_json()
    referring = {"$ref", "allOf", "anyOf", "enum", "example"}
    fields = [
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
        if referring.isdisjoint({*about, *about.get("items", {})})
    ]
    calls = [call for path in document["paths"].values() for call in path.values()]
    parameters = [
        (call["operationId"], each["name"])
        for call in calls
        for each in call.get("parameters", [])
        if "example" not in {*each, *each.get("schema", {})}
    ]
    assert (fields, parameters) == ([], [])
