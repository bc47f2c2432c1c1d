"""What every answer has, errors of unknown addresses and methods too."""

from __future__ import annotations

import io
import json

import pytest

from feedsvc import create_app

ORIGIN = "https://app.example"
ASKED = "authorization, content-type, idempotency-key, if-match, if-none-match, x-request-id"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": ASKED,
}
API = ["/v1/feed", "/v1/posts/5", "/v1/posts/x", "/v1/nothing", "/v1", "/v1/", "/v1//feed"]
OTHERS = ["/", "/docs", "/docs/", "/docs/static/docs.js", "/healthz", "/openapi.json", "/metrics"]
STRANGE = [
    "/nothing",
    "//nothing",
    "/v1x",
    "/%ff",
    "/%00",
    "/%zz",
    "/%0d%0aX-Evil:%201",
    "/docs/static/",
    "/docs/static/%00",
    "/docs/static/../../app.py",
    "/docs/static/%2e%2e/%2e%2e/public.py",
    "/docs//static/docs.js",
    "/a/" + "b" * 5000,
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X-YZ"]


@pytest.fixture
def browser(settings):
    """A client of a service whose one foreign origin is `ORIGIN`."""
    with create_app(**settings, cors_origins=ORIGIN) as app:
        yield app.test_client()


def test_no_answer_outside_the_pages_is_html_and_each_has_the_same_protection(client, auth):
    for path in [*API, *OTHERS, *STRANGE, "/console/", "/console/nothing", "/console/sign-in"]:
        for method in METHODS:
            with client.open(path, method=method, headers=auth(9)) as answer:
                case = (method, path, answer.status_code, answer.headers)
                assert answer.status_code < 500, case
                assert answer.headers["X-Content-Type-Options"] == "nosniff", case
                assert answer.headers["X-Frame-Options"] == "DENY", case
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], case
                assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin"), case
                assert answer.headers["X-Request-ID"], case
                assert "X-Evil" not in answer.headers, case
                if path.startswith("/console") or answer.status_code == 200:
                    continue
                assert answer.status_code not in (301, 307, 308), case
                assert answer.mimetype in ("application/problem+json", None), case


def test_the_page_of_the_documentation_is_the_only_page(client, auth):
    for path in [*API, *OTHERS]:
        with client.get(path, headers=auth(9)) as answer:
            assert (answer.mimetype == "text/html") == (path == "/docs"), path
    with client.options("/v1/feed", headers=auth(9)) as answer:
        assert (answer.status_code, answer.mimetype, answer.data) == (200, None, b"")
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_path_with_an_empty_part_is_not_found(client, auth):
    for path in ("/v1//feed", "/v1/accounts//9", "/v1/feed//", "/docs//static/docs.js"):
        answer = client.get(path, headers=auth(9))
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


# CORS


def test_every_answer_under_v1_may_be_read_by_pages_of_the_configured_origins(browser, auth):
    for path in API:
        for method in METHODS:
            for headers in (auth(9), {}, {"Host": ""}):
                answer = browser.open(path, method=method, headers={**headers, "Origin": ORIGIN})
                case = (method, path, answer.status_code)
                assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN, case
                assert "Origin" in answer.vary, case
                for name in ("Link", "ETag", "Retry-After", "X-Request-ID", "WWW-Authenticate"):
                    assert name in answer.headers["Access-Control-Expose-Headers"], case


@pytest.mark.parametrize("path", [*API, "/v1/admin/threshold"])
def test_a_preflight_allows_every_method_and_header_on_every_path(browser, path):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        answer = browser.options(
            path, headers={**PREFLIGHT, "Access-Control-Request-Method": method}
        )
        assert (answer.status_code, answer.data) == (200, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        assert answer.headers["Access-Control-Allow-Headers"] == ASKED
        assert int(answer.headers["Access-Control-Max-Age"]) > 0


def test_no_other_origin_and_no_other_path_is_allowed(browser, client, auth):
    for origin in ("https://evil.example", f"{ORIGIN}/", f"{ORIGIN}.evil.example", "null"):
        for answer in (
            browser.get("/v1/feed", headers={**auth(9), "Origin": origin}),
            browser.options("/v1/feed", headers={**PREFLIGHT, "Origin": origin}),
        ):
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
            assert "Origin" in answer.vary, "a cache keeps the answers to two origins apart"
    for path in ("/healthz", "/console/sign-in"):
        assert "Access-Control-Allow-Origin" not in browser.get(path, headers=PREFLIGHT).headers
    for answer in (client.get("/v1/feed", headers=PREFLIGHT), client.options("/v1/feed")):
        assert "Access-Control-Allow-Origin" not in answer.headers, "no origin is configured"


# Bodies that end early


@pytest.mark.parametrize("server", [{}, {"wsgi.input_terminated": True}])
def test_a_body_that_is_shorter_than_its_length_is_refused_and_changes_nothing(
    client, auth, server
):
    whole = json.dumps({"photo_url": "https://img.example/1.jpg"}).encode()
    for sent in (whole, whole[:10], b""):
        answer = client.post(
            "/v1/posts",
            input_stream=io.BytesIO(sent),
            environ_overrides={"CONTENT_LENGTH": str(len(whole) + 10), **server},
            headers=auth(9),
            content_type="application/json",
        )
        assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
        assert "shorter than its Content-Length" in answer.json["detail"]
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == []


@pytest.mark.parametrize("server", [{}, {"wsgi.input_terminated": True}])
def test_a_form_that_ends_early_is_refused(client, auth, server):
    token = auth(1, "admin:read")["Authorization"].removeprefix("Bearer ")
    form = f"token={token}".encode()
    answer = client.post(
        "/console/sign-in",
        input_stream=io.BytesIO(form),
        environ_overrides={"CONTENT_LENGTH": str(len(form) + 10), **server},
        content_type="application/x-www-form-urlencoded",
        headers={"Origin": "http://localhost"},
    )
    assert answer.status_code == 400
    assert "Set-Cookie" not in answer.headers


class Kept(io.BytesIO):
    """A body that tells how much of it was read, also after it was closed."""

    def close(self):
        """Stay open."""


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("mebibytes", "read"), [(2, 2), (40, 32)])
def test_a_body_that_is_too_large_is_read_so_that_its_client_reads_the_answer(
    client, auth, mebibytes, read, chunked
):
    body = Kept(bytes(mebibytes << 20))
    sent = (
        {"environ_overrides": {"wsgi.input_terminated": True}}
        if chunked
        else {"environ_overrides": {"CONTENT_LENGTH": str(mebibytes << 20)}}
    )
    headers = {**auth(9), **({"Transfer-Encoding": "chunked"} if chunked else {})}
    answer = client.post(
        "/v1/posts", input_stream=body, headers=headers, content_type="application/json", **sent
    )
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert read << 20 <= body.tell() <= (read + 2) << 20


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "५"])
def test_a_length_that_is_no_number_is_refused(client, auth, length):
    answer = client.post(
        "/v1/posts",
        input_stream=io.BytesIO(b'{"photo_url": "https://img.example/1.jpg"}'),
        environ_overrides={"CONTENT_LENGTH": length.encode().decode("latin-1")},
        headers=auth(9),
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == []


# Metrics


def test_a_request_cannot_make_a_metric_series_of_its_own(client, auth):
    for invented in ("FOO", "BAR", "get", "X" * 1000):
        for path in ("/v1/feed", "/nothing", "/healthz", "/" + "x" * 100):
            client.open(path, method=invented, headers=auth(9))
    counted = client.get("/metrics").text
    assert 'feedsvc_http_requests_total{method="other"' in counted
    for invented in ("FOO", "BAR", '"get"', "XXX", "xxx"):
        assert invented not in counted
