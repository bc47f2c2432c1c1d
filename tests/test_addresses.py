"""Addresses in answers: with and without proxies, a public URL, a prefix and a mount."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from feedsvc import create_app
from feedsvc.console.session import one_time_link

URL = "https://img.example/1.jpg"
PUBLIC = "https://app.example/feeds"
FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example",
    "X-Forwarded-Prefix": "/feeds",
}
STRIPPED, WHOLE = "", "/feeds"


@pytest.fixture
def serve(settings):
    """Return a function that makes an application with more settings."""
    made = []

    def make(**more):
        made.append(create_app(**settings, **more))
        return made[-1]

    yield make
    for app in made:
        app.close()


def addresses_of(client, auth, root="", headers=None):
    """Return the addresses in the answers to an upload and to a page, and the document's server."""
    headers = headers or {}
    made = client.post(f"{root}/v1/posts", json={"photo_url": URL}, headers={**auth(9), **headers})
    page = client.get(f"{root}/v1/feed?limit=1", headers={**auth(9), **headers})
    document = client.get(f"{root}/openapi.json", headers=headers).json
    links = re.findall(r"<([^>]+)>", page.headers["Link"])
    assert links
    return {
        "Location": made.headers["Location"].removesuffix(f"/v1/posts/{made.json['id']}"),
        "Link": {link.partition("/v1/feed?limit=1&cursor=")[0] for link in links},
        "server": document["servers"][0]["url"],
        "root": client.get(f"{root}/", headers=headers).headers["Location"].removesuffix("/docs"),
    }


def all_begin_with(base, server=None):
    return {"Location": base, "Link": {base}, "server": server or base or ".", "root": base}


def test_without_settings_addresses_are_relative_to_the_root_whatever_host_is_sent(serve, auth):
    client = serve().test_client()
    assert addresses_of(client, auth) == all_begin_with("")
    headers = {"Host": "evil.example", **FORWARDED, "X-Forwarded-Host": "evil.example"}
    assert addresses_of(client, auth, headers=headers) == all_begin_with("")


@pytest.mark.parametrize("root", [STRIPPED, WHOLE])
def test_a_public_url_begins_every_address(serve, auth, root):
    client = serve(public_url=PUBLIC).test_client()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert addresses_of(client, auth, root, headers) == all_begin_with(PUBLIC)


@pytest.mark.parametrize("root", [STRIPPED, WHOLE])
def test_a_trusted_proxy_says_how_addresses_begin(serve, auth, root):
    client = serve(trusted_proxies=1).test_client()
    assert addresses_of(client, auth, root, FORWARDED) == all_begin_with(PUBLIC)


def test_a_public_url_counts_more_than_a_trusted_proxy(serve, auth):
    client = serve(public_url="https://other.example", trusted_proxies=1).test_client()
    assert addresses_of(client, auth, headers=FORWARDED) == all_begin_with("https://other.example")


def test_only_as_many_proxies_are_believed_as_are_trusted(serve, auth):
    client = serve(trusted_proxies=2).test_client()
    two = {**FORWARDED, "X-Forwarded-Host": "evil.example, app.example, inner.example"}
    two["X-Forwarded-Proto"] = "http, https, http"
    two["X-Forwarded-Prefix"] = "/evil, /feeds, /inner"
    assert addresses_of(client, auth, headers=two) == all_begin_with(PUBLIC)
    assert addresses_of(client, auth, headers=FORWARDED) == all_begin_with("")


def test_a_trusted_proxy_that_names_no_host_leaves_addresses_relative(serve, auth):
    client = serve(trusted_proxies=1).test_client()
    headers = {**FORWARDED, "X-Forwarded-Host": "", "Host": "evil.example"}
    assert addresses_of(client, auth, headers=headers) == all_begin_with("/feeds")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/a/../b"),
        ("X-Forwarded-Prefix", "/a b"),
        ("X-Forwarded-Prefix", "feeds"),
        ("X-Forwarded-Prefix", "https://evil.example"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Host", "a.example/path"),
        ("X-Forwarded-Host", "user@a.example"),
    ],
)
def test_a_proxy_that_sends_nonsense_is_told_so(serve, name, value):
    client = serve(trusted_proxies=1).test_client()
    answer = client.get("/docs", headers={**FORWARDED, name: value})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert "evil" not in str(answer.headers)


@pytest.mark.parametrize("prefix", ["/feeds/", "/feeds"])
def test_a_slash_at_the_end_of_a_prefix_does_not_matter(serve, auth, prefix):
    client = serve(trusted_proxies=1).test_client()
    headers = {**FORWARDED, "X-Forwarded-Prefix": prefix}
    assert addresses_of(client, auth, headers=headers) == all_begin_with(PUBLIC)


def test_a_prefix_named_like_a_path_of_the_service_is_left_to_the_proxy(serve, auth):
    client = serve(public_url="https://app.example/v1").test_client()
    assert addresses_of(client, auth) == all_begin_with("https://app.example/v1")


# Inside another application


def mounted(app, **proxies):
    """Return a client of an application that holds this one under `/feeds`."""
    outer = Flask("outer")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/feeds": app})
    if proxies:
        outer.wsgi_app = ProxyFix(outer.wsgi_app, **proxies)
    return outer.test_client()


def test_a_mounted_service_begins_every_address_with_its_mount(serve, auth):
    assert addresses_of(mounted(serve()), auth, "/feeds") == all_begin_with("/feeds")


def test_a_mounted_service_behind_a_proxy_has_both_prefixes(serve, auth):
    headers = {**FORWARDED, "X-Forwarded-Prefix": "/api"}
    client = mounted(serve(trusted_proxies=1))
    both = "https://app.example/api/feeds"
    assert addresses_of(client, auth, "/feeds", headers) == all_begin_with(both)
    client = mounted(serve(trusted_proxies=1), x_host=1, x_proto=1, x_prefix=1)
    assert addresses_of(client, auth, "/feeds", headers) == all_begin_with(both)
    client = mounted(serve(), x_host=1, x_proto=1, x_prefix=1)
    assert addresses_of(client, auth, "/feeds", headers) == all_begin_with("/api/feeds")


def test_a_mounted_service_with_a_public_url_names_the_whole_prefix(serve, auth):
    client = mounted(serve(public_url="https://app.example/api/feeds"))
    assert addresses_of(client, auth, "/feeds") == all_begin_with("https://app.example/api/feeds")


# The console and the page of the documentation


def browse(client, app, root, sent_root, headers, origin):
    """Sign in with a link, set a threshold, sign out. Check each address on the way."""
    link = one_time_link(app.extensions["feedsvc"].stores, origin + root, 7, ["admin:write"])
    address, code = link.split("#")

    def sent(path):
        """Return the path that the proxy sends for an address of the browser."""
        assert path.startswith(f"{root}/"), path
        return sent_root + path.removeprefix(root)

    page = client.get(sent(address.removeprefix(origin)), headers=headers)
    [form] = re.findall(r'action="([^"]+)"', page.text)
    forms = {**headers, "Origin": origin.partition("/feeds")[0]}
    signed_in = client.post(sent(form), data={"code": code}, headers=forms)
    assert signed_in.status_code == 303, signed_in.text
    [cookie] = [value for name, value in signed_in.headers if name == "Set-Cookie"]
    assert f"Path={root}/console" in cookie.split("; ")
    assert ("Secure" in cookie.split("; ")) == origin.startswith("https")
    # The client's jar would not send a cookie for the prefix to a path without it.
    session = {"Cookie": cookie.partition(";")[0]}
    overview = client.get(sent(signed_in.headers["Location"]), headers={**headers, **session})
    assert overview.status_code == 200
    named = re.findall(r'(?:href|src|action|data-url)="(/[^"]*)"', overview.text)
    assert len(named) > 10
    for each in named:
        with client.get(sent(each), headers={**headers, **session}) as answer:
            assert answer.status_code in (200, 405, 409, 422), each
    secret = re.search(r'name="csrf_token" value="([^"]+)"', overview.text)[1]
    out = client.post(
        sent(f"{root}/console/sign-out"), data={"csrf_token": secret}, headers={**forms, **session}
    )
    assert (out.status_code, out.headers["Location"]) == (303, f"{root}/console/sign-in")
    return True


@pytest.mark.parametrize("sent_root", [STRIPPED, WHOLE])
@pytest.mark.parametrize("more", [{"public_url": PUBLIC}, {"trusted_proxies": 1}])
def test_the_console_works_behind_a_proxy_under_a_prefix(serve, sent_root, more):
    app = serve(**more)
    headers = {**FORWARDED, "Host": "127.0.0.1:8000"}
    assert browse(
        Client(app, use_cookies=False), app, "/feeds", sent_root, headers, "https://app.example"
    )


def test_the_console_works_under_a_mount(serve):
    app = serve()
    outer = DispatcherMiddleware(Flask("outer"), {"/feeds": app})
    client = Client(outer, use_cookies=False)
    assert browse(client, app, "/feeds", "/feeds", {}, "http://localhost")


def test_an_error_of_the_console_leads_back_under_the_prefix(serve, auth):
    client = serve(public_url=PUBLIC).test_client()
    token = auth(1, "admin:read")["Authorization"].removeprefix("Bearer ")
    browser = {"base_url": "https://app.example", "headers": {"Origin": "https://app.example"}}
    client.post("/feeds/console/sign-in", data={"token": token}, **browser)
    answer = client.get("/feeds/console/accounts?id=77", **browser)
    assert answer.status_code == 404
    assert 'href="/feeds/console/accounts?id=77"' in answer.text


def test_the_page_of_the_documentation_names_no_path_from_the_root(client):
    with client.get("/docs") as page, client.get("/docs/static/docs.js") as script:
        assert not re.search(r'(src|href)="/', page.text)
        assert '"/' not in script.text


# Host


BAD_HOSTS = [
    "",
    "a.example, b.example",
    "a.example,a.example",
    "a b",
    "a.example/path",
    "user@a.example",
    "a.example:port",
    "[::1",
    "a.example:80:80",
    "ü.example",
    "x" * 300,
]


@pytest.mark.parametrize("path", ["/v1/feed", "/healthz", "/docs", "/console/sign-in", "/nothing"])
def test_a_bad_or_double_host_is_refused_everywhere(client, path):
    for host in BAD_HOSTS:
        environ = {"HTTP_HOST": host.encode().decode("latin-1")}
        for method in ("GET", "POST", "OPTIONS", "FOO"):
            answer = client.open(path, method=method, environ_overrides=environ)
            assert answer.status_code == 400, (host, method, answer.text)
            if "console" not in path:
                assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("more", [{}, {"public_url": PUBLIC}, {"trusted_proxies": 1}])
def test_a_request_without_a_host_is_refused(serve, more):
    app = serve(**more)
    statuses = []

    def without_host(environ, start_response):
        del environ["HTTP_HOST"]
        return app(environ, start_response)

    for path in ("/v1/feed", "/healthz"):
        statuses.append(Client(without_host).get(path, headers=FORWARDED).status_code)
    assert statuses == [400, 400]


def test_any_one_host_is_accepted(client):
    for host in ("a.example", "a_b:8000", "127.0.0.1", "[::1]:8000", "xn--bcher-kva.example."):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_form_from_an_empty_origin_is_refused(client):
    for origin in ("", "null", "http://", "file://", "http://[::1", "http://a@localhost"):
        answer = client.post("/console/sign-in", data={"token": "x"}, headers={"Origin": origin})
        assert answer.status_code == 403
