"""Clients that are slow, silent, rude or gone, before the real web server."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from feedsvc.settings import REQUEST_THREADS
from tests.engines import free_port, wait_until
from tests.environments.calls import SECRET, authorization
from tests.environments.parts import Part
from tests.environments.slow_app import STREAMED_BYTES

ROOT = Path(__file__).parents[2]
AUTHOR = 2**62 + 5
WEB = "import sys; from feedsvc.supervise import web; web.main(sys.argv.pop())"
POST = b'{"photo_url": "https://img.example/1.jpg", "description": "never whole"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The whole service, with one web process."""
    folder = tmp_path_factory.mktemp("data")
    port = free_port()
    command = (sys.executable, "-m", "feedsvc", "up", "--port", str(port), "--workers", "0")
    with closing(
        Part(*command, "--web-workers", "1", cwd=ROOT, data_dir=folder, jwt_secret=SECRET)
    ) as part:
        part.port = port
        part.wait_for_text("ready:")
        yield part


@pytest.fixture
def slow_app(tmp_path):
    """The web server with one process, before an application that hangs and streams."""
    with closing(_serve_slow_app()) as part:
        yield part


@pytest.fixture(scope="module")
def slow_clients(service):
    """Clients that announce a request and do not finish it, and the time of their start."""
    with ExitStack() as stack:
        started = time.monotonic()
        clients = {
            name: [stack.enter_context(_connected(service.port)) for _ in range(count)]
            for name, count in (("silent", 1_100), ("head", 100), ("body", 200), ("chunked", 20))
        }
        for client in clients["head"]:
            client.sendall(b"GET /v1/feed HTTP/1.1\r\nHost: x\r\nX-Drip: ")
        for client in clients["body"]:
            client.sendall(_head("Content-Length: 100"))
        for client in clients["chunked"]:
            client.sendall(_head("Transfer-Encoding: chunked") + b"4\r\nabcd\r\n")
        clients["started"] = started
        yield clients


def test_slow_and_silent_clients_change_nothing_for_others(service, slow_clients):
    for _ in range(20):
        started = time.monotonic()
        for path in ("/healthz", "/v1/feed"):
            assert _get(service.port, path).status == 200, path
        assert time.monotonic() - started < 1
        for client in slow_clients["head"]:
            client.sendall(b"x")  # a drop, again and again


def test_a_cut_off_body_is_refused_and_nothing_is_kept(service):
    chunked = b"%x\r\n%b\r\n" % (len(POST), POST)
    for sent in (
        _head("Content-Length: 200") + POST,
        _head("Transfer-Encoding: chunked") + chunked,
        _head("Transfer-Encoding: chunked") + chunked[:-9],
    ):
        with _connected(service.port) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            _problem(client, 400)
        with _connected(service.port) as client:
            client.sendall(sent)
    page = json.loads(_get(service.port, f"/v1/accounts/{AUTHOR}/posts").body)
    assert page["data"] == []


def test_a_host_is_named_exactly_once(service):
    for hosts in (b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n"):
        with _connected(service.port) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")
            assert "Host" in _problem(client, 400)["detail"]
    with _connected(service.port) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(99).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("size", [1_048_577, 1_048_578, 20_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_can_read_that_its_body_is_too_large(service, size, framing):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    body = b"x" * size
    chunked = framing == "chunked"
    connection.request(
        "POST",
        "/v1/posts",
        (body[at : at + 65_536] for at in range(0, size, 65_536)) if chunked else body,
        {**authorization(AUTHOR), "Content-Type": "application/json"},
        encode_chunked=chunked,
    )
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["status"]) == (413, 413)
    assert answer.headers["X-Request-ID"]
    connection.close()


def test_a_client_that_asks_first_is_told_before_it_sends(service):
    with _connected(service.port) as client:
        client.sendall(_head("Content-Length: 20000000", "Expect: 100-continue"))
        _problem(client, 413)
    with _connected(service.port) as client:
        client.sendall(_head(f"Content-Length: {len(POST) - 4}", "Expect: 100-continue"))
        assert client.recv(99) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(POST[:-4])
        _problem(client, 400)  # it is no JSON


def test_slow_clients_are_ended(service, slow_clients):
    """This test waits until the limits of time have passed; the tests before used the time."""
    deadline = slow_clients["started"] + 26
    for name in ("silent", "head", "body", "chunked"):
        for client in slow_clients[name]:
            client.settimeout(max(deadline - time.monotonic(), 0.1))
            answer = client.recv(999)
            assert answer == b"" if name == "silent" else answer.startswith(b"HTTP/1.1 408"), name
    assert "front.requests_refused" in _web_log(service)


def test_a_terminated_service_says_so_first_and_ends_beside_slow_clients(tmp_path):
    port = free_port()
    command = (sys.executable, "-m", "feedsvc", "up", "--port", str(port), "--workers", "0")
    with (
        closing(Part(*command, cwd=ROOT, data_dir=tmp_path, jwt_secret=SECRET)) as part,
        ExitStack() as stack,
    ):
        part.wait_for_text("ready:")
        assert _get(port, "/readyz?stores=no").status == 200
        for _ in range(50):
            client = stack.enter_context(_connected(port))
            client.sendall(_head("Content-Length: 100"))
        started = time.monotonic()
        part.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _get(port, "/readyz?stores=no").status == 503, 1)
        assert part.process.wait(15) == 0
        assert time.monotonic() - started < 15


def test_above_the_limit_the_oldest_silent_connections_are_ended(tmp_path):
    command = f"ulimit -n 300; exec {sys.executable} -m feedsvc up --workers 0 --web-workers 1"
    port = free_port()
    with (
        closing(
            Part(
                "bash",
                "-c",
                f"{command} --port {port}",
                cwd=ROOT,
                data_dir=tmp_path,
                jwt_secret=SECRET,
            )
        ) as part,
        ExitStack() as stack,
    ):
        part.wait_for_text("ready:")
        part.port = port
        for _ in range(1_100):
            stack.enter_context(_connected(port))
        started = time.monotonic()
        assert _get(port, "/v1/feed").status == 200
        assert time.monotonic() - started < 2
        wait_until(lambda: "front.connections_evicted" in _web_log(part), 5)


def test_a_probe_is_answered_while_every_request_thread_hangs(slow_app, tmp_path):
    release = tmp_path / "release"
    with ThreadPoolExecutor(200) as clients:
        hanging = [
            clients.submit(_get, slow_app.port, f"{path}?until={release}&no_stores=no")
            for path in ["/readyz", *["/hang"] * (REQUEST_THREADS + 140)]
        ]
        refused = wait_until(lambda: [each for each in hanging if each.done()], 10)
        started = time.monotonic()
        health = _get(slow_app.port, "/healthz")
        assert (health.status, json.loads(health.body)) == (200, {"status": "ok"})
        assert time.monotonic() - started < 1
        release.touch()
        statuses = [each.result().status for each in hanging]
    answer = refused[0].result()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == REQUEST_THREADS + 128, "threads, and a full queue"


def test_a_probe_is_answered_while_a_store_hangs(redis_server, tmp_path):
    port = free_port()
    command = (sys.executable, "-m", "feedsvc", "up", "--port", str(port), "--workers", "0")
    settings = {"data_dir": tmp_path, "jwt_secret": SECRET, "redis_url": redis_server.url}
    with (
        closing(Part(*command, "--web-workers", "1", cwd=ROOT, **settings)) as part,
        ThreadPoolExecutor(40) as clients,
    ):
        part.wait_for_text("ready:")
        assert _get(port, "/v1/feed").status == 200
        with redis_server.stopped():
            reads = [clients.submit(_get, port, "/v1/feed") for _ in range(40)]
            for _ in range(5):
                for path in ("/healthz", "/readyz?stores=no"):
                    started = time.monotonic()
                    assert _get(port, path).status == 200
                    assert time.monotonic() - started < 1
            assert {read.result().status for read in reads} == {503}
        wait_until(lambda: _get(port, "/v1/feed").status == 200, 5)


def test_a_client_that_goes_before_its_answers_is_no_failure(slow_app):
    """It has sent several requests together, and reads nothing."""
    clients = [_connected(slow_app.port) for _ in range(REQUEST_THREADS)]
    for client in clients:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    for client in clients:
        assert client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert _get(slow_app.port, "/hang?until=/").status == 200
    assert "failed" not in slow_app.output()


def test_slow_readers_of_an_answer_hold_no_thread(slow_app):
    with ExitStack() as stack:
        readers = [stack.enter_context(_connected(slow_app.port)) for _ in range(20)]
        for reader in readers:
            reader.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [http.client.HTTPResponse(reader) for reader in readers]
        for answer in answers:
            answer.begin()
        assert _post(slow_app.port, b"x").status == 200
        assert _memory(slow_app) < 300e6
        for reader in readers[1:]:
            reader.shutdown(socket.SHUT_RDWR)
        assert len(answers[0].read()) == STREAMED_BYTES


def test_bodies_arrive_whole_however_they_are_cut(slow_app):
    body = os.urandom(1_000_000)
    expected = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert json.loads(_post(slow_app.port, body).body) == expected
    connection = http.client.HTTPConnection("127.0.0.1", slow_app.port, timeout=20)
    pieces = (body[at : at + 9_973] for at in range(0, len(body), 9_973))
    connection.request("POST", "/digest", pieces, encode_chunked=True)
    assert json.load(connection.getresponse()) == expected
    connection.close()


def test_requests_that_are_sent_together_are_answered_in_order(slow_app):
    count = 500
    with _connected(slow_app.port) as client:
        client.sendall(
            b"".join(
                b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
                % (number, b"x" * number)
                for number in range(count)
            )
            + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while data := client.recv(1 << 20):
            received += data
    sizes = [
        json.loads(each.split(b"\r\n\r\n")[1].split(b"HTTP/1.1")[0])
        for each in received.split(b"HTTP/1.1 200 OK")[1:]
    ]
    assert [each.get("bytes") for each in sizes] == [*range(count), None]


def test_requests_that_are_sent_without_end_are_not_kept(slow_app):
    flood = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000
    with _connected(slow_app.port) as client, ThreadPoolExecutor(1) as readers:
        reader = readers.submit(_read_all, client)
        deadline = time.monotonic() + 3
        client.settimeout(0.5)
        with suppress(TimeoutError):
            while time.monotonic() < deadline:
                client.send(flood)
        assert _memory(slow_app) < 150e6
        client.shutdown(socket.SHUT_RDWR)
        assert reader.result() > 0


def test_a_terminated_server_says_so_first_and_ends_its_requests(slow_app, tmp_path):
    release = tmp_path / "release"
    with ThreadPoolExecutor(1) as clients:
        under_way = clients.submit(_get, slow_app.port, f"/hang?until={release}")
        wait_until(under_way.running, 5)
        time.sleep(0.2)  # the request has reached its thread
        started = time.monotonic()
        slow_app.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _get(slow_app.port, "/healthz").headers["Connection"] == "close", 1)
        wait_until(lambda: _refuses(slow_app.port), 5)
        release.touch()
        assert under_way.result().status == 200
        assert slow_app.process.wait(10) == 0
        assert time.monotonic() - started < 10


def test_a_host_name_works_and_a_wrong_one_is_named():
    with closing(_serve_slow_app("localhost")) as part:
        assert _get(part.port, "/healthz").status == 200
        taken = Part(sys.executable, "-c", WEB, "localhost", str(part.port), "1", "x:y", cwd=ROOT)
        with closing(taken):
            assert taken.process.wait(20) == 1
            assert f"cannot listen on localhost:{part.port}" in taken.output()
    wrong = Part(sys.executable, "-c", WEB, "no.such.host.invalid", "0", "1", "x:y", cwd=ROOT)
    with closing(wrong):
        assert wrong.process.wait(20) == 1
        assert wrong.output().startswith("error: cannot find an address of the host")
        assert wrong.output().count("\n") == 1


def _serve_slow_app(host="127.0.0.1"):
    port = free_port()
    factory = "tests.environments.slow_app:make_app"
    part = Part(sys.executable, "-c", WEB, host, str(port), "1", factory, cwd=ROOT)
    part.port = port
    part.wait_for(f"http://127.0.0.1:{port}/healthz")
    return part


class _Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


def _get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=authorization(AUTHOR))
    with closing(connection):
        return _Answer(connection.getresponse())


def _post(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/digest", body)
    with closing(connection):
        return _Answer(connection.getresponse())


def _head(*lines):
    token = f"Authorization: {authorization(AUTHOR)['Authorization']}"
    lines = ("POST /v1/posts HTTP/1.1", "Host: x", "Content-Type: application/json", token, *lines)
    return "\r\n".join([*lines, "", ""]).encode()


def _connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _problem(client, status):
    """Read a whole answer, and return its problem."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    problem = json.load(answer)
    assert (answer.status, problem["status"]) == (status, status), problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == problem["request_id"]
    return problem


def _read_all(client):
    read = 0
    with suppress(OSError):
        while data := client.recv(1 << 20):
            read += len(data)
    return read


def _web_log(part):
    folder = Path(part.environment["FEEDSVC_DATA_DIR"])
    return (folder / "logs" / "web.log").read_text()


def _refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _memory(part):
    """Return the memory of the web process, in bytes."""
    parent = part.process.pid
    [child] = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    status = Path(f"/proc/{child}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1_024
