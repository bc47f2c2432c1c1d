"""`wsgi:app` under the servers that people know, without our own server in front of it."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.engines import free_port, wait_until
from tests.environments.calls import SECRET, authorization
from tests.environments.parts import Part

ROOT = Path(__file__).parents[2]
AUTHOR = 2**62 + 6
POST = b'{"photo_url": "https://img.example/1.jpg"}'
SERVERS = {
    "gunicorn": ("gunicorn", "wsgi:app", "--bind"),
    "gunicorn, threads": ("gunicorn", "wsgi:app", "--threads", "4", "--preload", "--bind"),
    "granian": ("granian", "wsgi:app", "--interface", "wsgi", "--port"),
}


@pytest.fixture(scope="module", params=SERVERS)
def port(request, tmp_path_factory):
    module, *arguments = SERVERS[request.param]
    port = free_port()
    address = str(port) if arguments[-1] == "--port" else f"127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("data")
    command = (sys.executable, "-m", module, *arguments, address)
    with closing(Part(*command, cwd=ROOT, data_dir=folder, jwt_secret=SECRET)) as part:
        part.wait_for(f"http://127.0.0.1:{port}/healthz")
        yield port


def test_a_whole_body_is_published_and_a_cut_off_one_is_not(port):
    chunk = b"%x\r\n%b\r\n" % (len(POST), POST)
    cut_off = [
        _head(f"Content-Length: {len(POST) + 50}") + POST,
        _head("Transfer-Encoding: chunked") + chunk,
        _head("Transfer-Encoding: chunked") + chunk[:-3],
        _head("Transfer-Encoding: chunked") + chunk[:-20],
        _head("Transfer-Encoding: chunked") + b"zz" + chunk,
    ]
    for sent in cut_off:
        for how in (socket.SHUT_WR, socket.SHUT_RDWR):
            with _connected(port) as client:
                client.sendall(sent)
                client.shutdown(how)
                if how == socket.SHUT_WR:
                    answer = client.recv(9_999)
                    assert not answer or answer.startswith(b"HTTP/1.1 400"), answer
    whole = _head(f"Content-Length: {len(POST)}") + POST
    with _connected(port) as client:
        client.sendall(whole)
        assert client.recv(12) == b"HTTP/1.1 201"
    assert len(wait_until(lambda: _posts(port), 5)) == 1


def test_a_client_reads_that_its_body_is_too_large(port):
    headers = {**authorization(AUTHOR), "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        connection.request("POST", "/v1/posts", bytes(20_000_000), headers)
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["status"]) == (413, 413)


def test_a_missing_or_double_host_is_refused(port):
    for hosts in (b"", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nHost: a\r\n", b"Host:\r\n"):
        with _connected(port) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")
            assert client.recv(9_999).startswith(b"HTTP/1.1 400"), hosts


def _posts(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/v1/accounts/{AUTHOR}/posts", headers=authorization(AUTHOR))
    with closing(connection):
        return json.load(connection.getresponse())["data"]


def _head(*lines):
    token = f"Authorization: {authorization(AUTHOR)['Authorization']}"
    lines = ("POST /v1/posts HTTP/1.1", "Host: x", "Content-Type: application/json", token, *lines)
    return "\r\n".join([*lines, "", ""]).encode()


def _connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)
