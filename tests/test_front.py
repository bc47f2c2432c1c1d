"""The parser and the framing of the web server, without a server."""

from __future__ import annotations

import json

import pytest

from feedsvc.api.answers import PROTECTION
from feedsvc.front.answers import Answer, environ_of, refusal_bytes
from feedsvc.front.listening import PortTaken, UnknownHost, free_port, listen
from feedsvc.front.parser import MAX_HEAD_BYTES, Parser, Refusal
from feedsvc.front.shares import Shares, make_file

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


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
def test_ambiguous_and_invalid_requests_are_refused(sent):
    whole, bytewise = Parser(100), Parser(100)
    whole.feed(sent)
    for at in range(len(sent)):
        if not bytewise.refusal:
            bytewise.feed(sent[at : at + 1])
    for parser in (whole, bytewise):
        assert parser.refusal
        assert parser.refusal.status == 400
        assert not parser.requests


def test_a_request_is_whole_only_with_its_last_byte():
    for sent in (
        POST + b"Content-Length: 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    ):
        parser = Parser(100)
        for at in range(len(sent)):
            assert not parser.requests, sent[:at]
            parser.feed(sent[at : at + 1])
        [request] = parser.requests
        assert (request.method, request.target, request.body) == ("POST", b"/", b"abc")
        assert parser.refusal is None


def test_a_request_that_offers_another_protocol_is_answered_as_the_last_one():
    parser = Parser(100)
    parser.feed(GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /next HTTP/1.1\r\n")
    assert [request.keep_alive for request in parser.requests] == [False]
    parser = Parser(100)
    parser.feed(GET + b"Host: y\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert parser.refusal
    assert not parser.requests


def test_a_head_is_bounded_however_it_arrives():
    for size in (1, 1_000):
        parser = Parser(100)
        parser.feed(GET)
        while not parser.refusal:
            parser.feed(b"x" * size)
            assert size < MAX_HEAD_BYTES
        assert parser.refusal.status == 431


def test_an_unknown_method_is_no_bad_request():
    parser = Parser(100)
    parser.feed(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert parser.refusal
    assert parser.refusal.status == 405


def test_the_application_sees_a_body_over_the_limit_as_a_length_without_a_body():
    for sent in (
        POST + b"Content-Length: 101\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
    ):
        parser = Parser(100)
        parser.feed(sent)
        [request] = parser.requests
        assert (request.announced_bytes, request.body, request.keep_alive) == (101, b"", False)
        assert environ_of(request, "c", ("h", 1))["CONTENT_LENGTH"] == "101"
        parser.feed(b"x" * 1_000)
        assert len(parser.requests) == 1


def test_the_environment_has_the_request_without_its_framing():
    environ = environment(
        b"POST http://h.example/a%2Fb/%C3%A9?q=%20 HTTP/1.1\r\nHost: h.example\r\n"
        b"Content-Type: text/x\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X_Forwarded_For: 6.6.6.6\r\nContent_Length: 9\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a/b/é"
    assert environ["QUERY_STRING"] == "q=%20"
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "3")
    assert environ["wsgi.input"].read() == b"abc"
    assert {key: value for key, value in environ.items() if key.startswith("HTTP_")} == {
        "HTTP_HOST": "h.example",
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
    }
    assert environment(b"GET //v1//x HTTP/1.1\r\nHost: x\r\n\r\n")["PATH_INFO"] == "//v1//x"


@pytest.mark.parametrize(
    ("method", "version", "status", "headers", "body", "framed", "keeps_alive"),
    [
        ("GET", "1.1", "200 OK", [("Content-Length", "2")], [b"ab"], b"ab", True),
        ("GET", "1.1", "200 OK", [("Content-Length", "2")], [b"a", b"bc"], b"ab", True),
        ("GET", "1.1", "200 OK", [], [b"a", b"", b"bc"], b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", True),
        ("GET", "1.1", "200 OK", [], [], b"0\r\n\r\n", True),
        ("GET", "1.0", "200 OK", [], [b"a", b"bc"], b"abc", False),
        ("HEAD", "1.1", "200 OK", [("Content-Length", "2")], [], b"", True),
        ("HEAD", "1.1", "200 OK", [], [b"ab"], b"", True),
        ("GET", "1.1", "204 No Content", [], [], b"", True),
        ("GET", "1.1", "304 Not Modified", [("Content-Length", "2")], [], b"", True),
    ],
)
def test_an_answer_is_framed(method, version, status, headers, body, framed, keeps_alive):
    def app(_environ, start_response):
        start_response(status, headers)
        return body

    answer = Answer(
        app, {"REQUEST_METHOD": method, "SERVER_PROTOCOL": f"HTTP/{version}"}, keep_alive=True
    )
    sent = b""
    while not answer.is_complete:
        sent += answer.next_piece()
    head, _, after = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status.encode())
    assert after == framed
    assert answer.keep_alive == keeps_alive
    assert (b"connection: close" in head) != keeps_alive
    assert (b"chunked" in head) == framed.endswith(b"0\r\n\r\n")


def test_an_answer_that_lacks_bytes_is_a_failure():
    def app(_environ, start_response):
        start_response("200 OK", [("Content-Length", "9")])
        return [b"ab"]

    answer = Answer(app, {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}, keep_alive=True)
    answer.next_piece()
    with pytest.raises(ValueError, match="lacks 7 bytes"):
        answer.next_piece()


def test_the_server_refuses_with_a_problem():
    head, _, body = refusal_bytes(Refusal(503, "Busy", "Try again.", 1)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1" in head
    assert f"x-request-id: {json.loads(body)['request_id']}".encode() in head
    assert f"content-length: {len(body)}".encode() in head
    for name, value in PROTECTION:
        assert f"{name.lower()}: {value}".encode() in head


def test_a_host_name_stands_for_all_its_addresses():
    listeners = listen("localhost", 0)
    [port] = {each.getsockname()[1] for each in listeners}
    assert listeners[0].getsockname()[0] == "127.0.0.1"
    with pytest.raises(PortTaken, match=f"localhost:{port}"):
        listen("localhost", port)
    for each in listeners:
        each.close()
    assert free_port("localhost", port) == port
    with pytest.raises(UnknownHost, match=r"no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


def test_the_process_with_the_fewest_connections_is_known():
    one, other = (Shares(file, 2) for file in [make_file(2)] * 2)
    assert not one.is_anyone_serving
    one.set(0, 7)
    assert (other.lowest(), other.is_anyone_serving) == (7, True)
    other.set(1, 3)
    assert one.lowest() == 3
    one.stop(1)
    assert one.lowest() == 7


def environment(sent):
    parser = Parser(100)
    parser.feed(sent)
    [request] = parser.requests
    return environ_of(request, "192.0.2.1", ("127.0.0.1", 8_000))
