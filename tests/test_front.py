"""The web server before a small application: what is refused, and how the rest is framed."""

from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace

import pytest
from flask import Flask, Response, request

from feedsvc.api.answers import PROTECTION
from feedsvc.front.connection import MAX_HEAD_BYTES
from feedsvc.front.listening import PortTaken, UnknownHost, bind, bind_for_each, free_port
from feedsvc.front.server import Server
from tests.engines import wait_until

ORIGIN = "https://page.example"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length : 3\r\n\r\nabc",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        GET + b"X: a\r\n folded\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"X: a\rY: b\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/3.7\r\nHost: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_ambiguous_and_invalid_requests_are_refused(server, sent, size):
    head, body = server.exchange(*(sent[at : at + size] for at in range(0, len(sent), size)))
    assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert "connection: close" in head
    assert json.loads(body)["status"] == 400
    assert server.seen == []


@pytest.fixture(scope="module")
def running():
    """A server in a thread. Its application notes the environment and the body of each request."""
    seen = []
    app = Flask("seen")
    app.config.update(MAX_CONTENT_LENGTH=100, CORS_ORIGINS=(ORIGIN,))

    @app.before_request
    def note():
        seen.append((request.environ, request.environ["wsgi.input"].read()))

    @app.route("/pieces/<int:status>/<length>")
    def pieces(status, length):
        headers = {} if length == "none" else {"Content-Length": length}
        return Response(iter((b"a", b"", b"bc")), status, headers)

    @app.get("/fails")
    def fails():
        raise AssertionError

    app.config["PROPAGATE_EXCEPTIONS"] = True
    [listener] = bind("127.0.0.1", 0)
    address = listener.getsockname()
    server = Server(app, 2)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    wait_until(lambda: server.started)
    yield address, seen
    server.should_exit = True
    thread.join()


@pytest.fixture
def server(running):
    address, seen = running
    seen.clear()

    def exchange(*sent):
        """Send in pieces, and return the head and the body of all answers until the end."""
        with socket.create_connection(address, timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in sent:
                client.sendall(piece)
            received = b""
            while data := client.recv(65_536):
                received += data
        head, _, body = received.partition(b"\r\n\r\n")
        return head.decode(), body

    return SimpleNamespace(exchange=exchange, seen=seen)


CLOSE = b"Connection: close\r\n"
ABC = b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        POST + CLOSE + b"Content-Length: 3\r\n\r\nabc",
        POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n",
        POST + CLOSE + b"Transfer-Encoding: Chunked\r\n\r\n" + ABC[:-2] + b"X-A: x\r\n\r\n",
    ],
)
def test_a_request_reaches_the_application_only_whole(server, sent):
    assert server.exchange(*(sent[at : at + 1] for at in range(len(sent))))[0]
    [(environ, body)] = server.seen
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], body) == ("POST", "/", b"abc")
    assert "HTTP_X_A" not in environ, "nobody has judged a trailer"


def test_a_request_that_offers_another_protocol_is_answered_as_the_last_one(server):
    head, body = server.exchange(
        b"GET /pieces/200/3 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        + GET
    )
    assert "connection: close" in head
    assert body == b"abc"


def test_requests_before_a_wrong_one_are_answered(server):
    right = b"GET /pieces/200/3 HTTP/1.1\r\nHost: x\r\n\r\n"
    for wrong in (b"GET / nonsense\r\n\r\n", GET + b"Host: y\r\n\r\n"):
        answers = server.exchange(right + right + wrong)[1].split(b"HTTP/1.1 ")
        assert [each[:3] for each in answers] == [b"abc", b"200", b"400"]


@pytest.mark.parametrize("size", [1, 1_000])
def test_a_head_is_bounded_however_it_arrives(server, size):
    long = b"x" * (MAX_HEAD_BYTES + 4_096)
    sent = long if size > 1 else long[:-9_000]
    more = (long[at : at + 1] for at in range(9_000)) if size == 1 else ()
    head, body = server.exchange(GET + b"X: " + sent, *more)
    assert head.startswith("HTTP/1.1 431 ")
    assert json.loads(body)["status"] == 431


def test_trailers_are_bounded(server):
    head, _ = server.exchange(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + ABC[:-2] + b"X: " + b"x" * 80_000
    )
    assert head.startswith("HTTP/1.1 431 ")
    assert server.seen == []


def test_an_unknown_method_is_no_bad_request(server):
    assert server.exchange(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith("HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 101\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
        POST + b"Content-Length: 101\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_the_application_sees_a_body_over_the_limit_as_a_length_without_a_body(server, sent):
    head, _ = server.exchange(sent, b"x" * 1_000)
    assert head.startswith("HTTP/1.1 404 ")
    assert "connection: close" in head
    [(environ, body)] = server.seen
    assert (environ["CONTENT_LENGTH"], body) == ("101", b"")


def test_the_environment_has_the_request_without_its_framing(server):
    server.exchange(
        b"POST http://h.example/a%2Fb/%C3%A9?q=%20 HTTP/1.1\r\nHost: h.example\r\n"
        b"Content-Type: text/x\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X_Forwarded_For: 6.6.6.6\r\nContent_Length: 9\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + ABC
    )
    [(environ, body)] = server.seen
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a/b/é"
    assert environ["QUERY_STRING"] == "q=%20"
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "3")
    assert body == b"abc"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert {key: value for key, value in environ.items() if key.startswith("HTTP_")} == {
        "HTTP_HOST": "h.example",
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
    }


def test_an_empty_part_of_a_path_stays(server):
    server.exchange(b"GET //v1//x HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert server.seen[0][0]["PATH_INFO"] == "//v1//x"


@pytest.mark.parametrize(
    ("method", "version", "path", "framing", "body"),
    [
        ("GET", "1.1", "200/3", "content-length: 3", b"abc"),
        ("GET", "1.1", "200/none", "transfer-encoding: chunked", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        ("GET", "1.0", "200/none", "content-length: 3", b"abc"),
        ("HEAD", "1.1", "200/3", "content-length: 3", b""),
        ("HEAD", "1.1", "200/none", "", b""),
        ("GET", "1.1", "204/none", "", b""),
        ("GET", "1.1", "304/3", "", b""),
        ("GET", "1.1", "200/9", "content-length: 9", b"abc"),  # the missing bytes show the failure
    ],
)
def test_an_answer_is_framed(server, method, version, path, framing, body):
    sent = f"{method} /pieces/{path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"
    head, got = server.exchange(sent.encode())
    assert head.startswith(f"HTTP/1.1 {path[:3]} ")
    framings = [line for line in head.split("\r\n") if line[:9] in ("content-l", "transfer-")]
    assert (framings, got) == ([framing] if framing else [], body)
    assert head.count("connection: close") == 1
    assert "server:" not in head


def test_the_server_refuses_with_a_problem_that_a_page_can_read(server):
    for sent, status in (
        (b"Host: x\r\n", 400),
        (b"\r\n", 500),
    ):
        head, body = server.exchange(
            b"GET /fails HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n"
            + f"Origin: {ORIGIN}\r\n".encode()
            + sent
            + b"\r\n"
        )
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert json.loads(body)["request_id"] == "mine"
        for name, value in (
            *PROTECTION,
            ("X-Request-ID", "mine"),
            ("Content-Length", len(body)),
            ("Access-Control-Allow-Origin", ORIGIN),
            ("Vary", "Origin"),
        ):
            assert f"\r\n{name.lower()}: {value}" in head


def test_a_host_name_stands_for_all_its_addresses():
    listeners = bind("localhost", 0)
    for each in listeners:
        each.listen()
    [port] = {each.getsockname()[1] for each in listeners}
    assert listeners[0].getsockname()[0] == "127.0.0.1"
    with pytest.raises(PortTaken, match=f"localhost:{port}"):
        bind("localhost", port)
    for each in listeners:
        each.close()
    assert free_port("localhost", port) == port
    with pytest.raises(UnknownHost, match=r"no\.such\.host\.invalid"):
        bind("no.such.host.invalid", 0)


def test_processes_share_a_port_and_nobody_else_does():
    listeners = [each for [each] in bind_for_each(2, "127.0.0.1", 0)]
    for each in listeners:
        each.listen(64)
    port = listeners[0].getsockname()[1]
    with pytest.raises(PortTaken):
        bind("127.0.0.1", port)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
    accepted = [_accept_all(each) for each in listeners]
    assert all(accepted)
    assert sum(map(len, accepted)) == len(clients)
    for each in (*listeners, *clients, *accepted[0], *accepted[1]):
        each.close()


def _accept_all(listener):
    accepted = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            return accepted
