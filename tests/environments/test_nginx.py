"""nginx in front: it ends TLS, serves the service under a prefix, and compresses answers."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium
from tests.engines import free_port
from tests.environments.calls import SECRET, authorization
from tests.environments.parts import Part
from tests.environments.servers import Nginx

# nginx passes a client's own headers on, so it must set every one that the service believes.
FORWARDED = """
proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $http_host;
"""
LOCATIONS = """
gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;
location /stripped/ {{
    proxy_pass http://127.0.0.1:{trusting}/;
    {forwarded}
    proxy_set_header X-Forwarded-Prefix /stripped;
}}
location /whole/ {{
    proxy_pass http://127.0.0.1:{trusting};
    {forwarded}
    proxy_set_header X-Forwarded-Prefix /whole;
}}
location /public/ {{
    proxy_pass http://127.0.0.1:{public}/;
}}
"""
PREFIXES = ["stripped", "whole", "public"]


class Site:
    """The service behind nginx, under one prefix."""

    def __init__(self, nginx, certificates, part, prefix):
        self.root, self.part = f"{nginx.url}/{prefix}", part
        self._context = ssl.create_default_context(cafile=certificates.authority)

    def ask(self, method, address, scope="feed", body=None, **headers):
        """Send a request to an absolute address. Return the status, the headers and the JSON."""
        assert address.startswith(self.root + "/"), address
        parts = urlsplit(address)
        sent = {
            **authorization(9, scope),
            "Host": "evil.example",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Prefix": "/evil",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if not self.root.endswith("public"):
            # The trusting service believes the host that its clients ask nginx for.
            sent["Host"] = parts.netloc
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(parts.netloc, timeout=20, context=self._context)
        with closing(connection):
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(method, target, body and json.dumps(body), sent)
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers.get("Content-Encoding") is None and text[:1] == b"{"
            return answer.status, answer.headers, json.loads(text) if is_json else text


@pytest.fixture(scope="module")
def site(certificates, tmp_path_factory):
    """Return a function that gives the service under a prefix."""
    ports = {"trusting": free_port(), "public": free_port()}
    nginx = Nginx(LOCATIONS.format(**ports, forwarded=FORWARDED), certificates)
    settings = {
        "trusting": {"trusted_proxies": 1},
        "public": {"public_url": f"{nginx.url}/public"},
    }
    with closing(nginx), ExitStack() as stack:
        parts = {}
        for name, port in ports.items():
            command = [sys.executable, "-m", "feedsvc", "up", "--workers", "0", "--port", str(port)]
            folder = tmp_path_factory.mktemp("data")
            parts[name] = Part(*command, data_dir=folder, jwt_secret=SECRET, **settings[name])
            stack.callback(parts[name].close)
        for name, port in ports.items():
            parts[name].wait_for(f"http://127.0.0.1:{port}/readyz", 60)
        yield lambda prefix: Site(
            nginx, certificates, parts["public" if prefix == "public" else "trusting"], prefix
        )


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_address_in_an_answer_leads_back_through_nginx(site, prefix):
    here = site(prefix)
    for _ in range(3):
        status, headers, made = here.ask(
            "POST", f"{here.root}/v1/posts", body={"photo_url": "https://img.example/1.jpg"}
        )
        assert status == 201, made
        assert here.ask("GET", headers["Location"])[2] == made
    _, headers, page = here.ask("GET", f"{here.root}/v1/feed?limit=1")
    following, newer = re.findall(r"<([^>]+)>", headers["Link"])
    assert here.ask("GET", following)[2]["data"] != page["data"]
    assert here.ask("GET", newer)[2]["data"] == []
    _, _, document = here.ask("GET", f"{here.root}/openapi.json")
    [server] = document["servers"]
    assert here.ask("GET", f"{server['url']}/v1/feed")[0] == 200
    assert here.ask("GET", f"{here.root}/")[1]["Location"] == f"{here.root}/docs"
    for path in ("/v1/nothing", "/nothing"):
        status, headers, _ = here.ask("GET", here.root + path)
        assert (status, headers["Content-Type"]) == (404, "application/problem+json"), path


@pytest.mark.parametrize("prefix", ["stripped", "public"])
def test_an_etag_that_nginx_has_made_weak_changes_the_threshold(site, prefix):
    here = site(prefix)
    address = f"{here.root}/v1/admin/threshold"
    _, headers, _ = here.ask("GET", address, "admin:read", Accept_Encoding="gzip")
    assert headers["ETag"] == 'W/"1"'
    body = {"promote_at": 50, "demote_at": 40, "reason": "test"}
    for status in (200, 412):
        answer = here.ask("PUT", address, "admin:write", body, If_Match=headers["ETag"])
        assert answer[0] == status, answer


@pytest.mark.parametrize("prefix", ["stripped", "public"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_console_and_the_documentation_work_in_a_browser(site, browser, prefix):
    here = site(prefix)
    command = [sys.executable, "-m", "feedsvc", "console"]
    if prefix != "public":
        command += ["--url", here.root]
    link = subprocess.run(
        command, env=here.part.environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert link.startswith(f"{here.root}/console/sign-in#")
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults, strays = [], []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda sent: None if sent.url.startswith(here.root) else strays.append(sent.url),
    )
    page.goto(link)
    page.wait_for_url(f"{here.root}/console/")
    [cookie] = context.cookies()
    assert (cookie["path"], cookie["secure"]) == (f"/{prefix}/console", True)
    for name in ("Record", "Accounts", "Explain", "Threshold"):
        page.get_by_role("link", name=name, exact=True).first.click()
        assert page.url.startswith(f"{here.root}/console/")
        assert page.get_by_role("button", name="Sign out").count() == 1
    page.get_by_role("link", name="API", exact=True).click()
    page.wait_for_url(f"{here.root}/docs")
    page.locator("#operations-Posts_and_feeds-get_feed").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.get_by_text("A bearer token is needed").first.wait_for()
    page.goto(f"{here.root}/console/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{here.root}/console/sign-in")
    context.close()
    assert (faults, [url for url in strays if not url.startswith("data:")]) == ([], [])
