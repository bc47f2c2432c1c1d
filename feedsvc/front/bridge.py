"""An ASGI application that calls a WSGI application with whole requests, in a bounded pool.

The event loop receives the request and sends the answer. A thread only makes the answer, or its
next piece, so a slow reader holds none.
"""

from __future__ import annotations

import asyncio
import io
import math
import sys
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import structlog

from feedsvc.front.refusals import Refusal, encoded

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Generator

    from flask import Flask
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

    from feedsvc.front.refusals import Headers

    _Part = tuple[int, Headers, bytes, bool]
    _Call = tuple[Callable[[], Any], asyncio.Future[_Part]]

_log = structlog.get_logger()

# At 1 ms a request and 8 threads a full queue is a wait of about 0.1 s.
MAX_WAITING = 128
# A thread makes this much of an answer of a known length before the loop sends it.
_PIECE_BYTES = 262_144
# The server has removed the framing of the body, and frames the answer itself.
_FRAMING = {b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"}
_BUSY = Refusal(503, "Every request thread is busy. Try again in a moment.", ("Retry-After", "1"))
_FAILED = Refusal(500, "The service failed. Its log has the cause.")


class Bridge:
    """The application as uvicorn calls it. One more thread answers probes while others hang."""

    def __init__(self, app: Flask, threads: int, refused: Counter[int]) -> None:
        """Call `app` with `threads` threads, and count refusals in `refused`, by status."""
        self.is_draining = False
        self._app = app
        self._origins = app.config.get("CORS_ORIGINS", ())
        self._refused = refused
        self._requests = _Pool("request", threads)
        self._probes = _Pool("probe", 1)

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one request. `Connection` gives its body as one message, or a disconnection."""
        message = await receive()
        if message["type"] != "http.request":
            return
        pool = self._probes if _is_probe(scope) else self._requests
        if pool.is_full:
            await self._refuse(_BUSY, scope, send)
            return
        environ = environ_of(scope, message["body"])
        environ["feedsvc.draining"] = self.is_draining
        # Threads take turns to make an answer, with the same variables.
        next_part = partial(Context().run, next, parts := _parts(self._app, environ))
        try:
            status, headers, body, is_more = await pool.run(next_part)
        except Exception:  # noqa: BLE001 -- the application answers its own errors
            _log.exception("front.application_failed")
            await self._refuse(_FAILED, scope, send)
            return
        if self.is_draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": is_more})
        if not is_more:
            return
        is_gone = asyncio.ensure_future(receive())  # nothing more comes but the disconnection
        try:
            while is_more and not is_gone.done():
                *_, body, is_more = await self._requests.run(next_part)
                await send({"type": "http.response.body", "body": body, "more_body": is_more})
        finally:
            is_gone.cancel()
            await self._requests.run(parts.close)

    async def _refuse(self, refusal: Refusal, scope: HTTPScope, send: ASGISendCallable) -> None:
        self._refused[refusal.status] += 1
        headers, body = refusal.answer(scope["headers"], self._origins)
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Pool:
    """Threads that take calls. The thread that became idle last takes the next call.

    So a few warm threads serve light traffic. A thread that hangs does not hold up the process's
    end.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._most = threads + MAX_WAITING
        self._pending = 0
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._idle: list[SimpleQueue[_Call]] = []
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    @property
    def is_full(self) -> bool:
        return self._pending >= self._most

    async def run(self, call: Callable[[], Any]) -> _Part:
        """Run a call on a thread. Return its result, or raise its error."""
        future: asyncio.Future[_Part] = asyncio.get_running_loop().create_future()
        self._pending += 1
        with self._lock:
            if self._idle:
                self._idle.pop().put((call, future))
            else:
                self._waiting.append((call, future))
        try:
            return await future
        finally:
            self._pending -= 1

    def _work(self) -> None:
        own: SimpleQueue[_Call] = SimpleQueue()
        while True:
            with self._lock:
                if self._waiting:
                    own.put(self._waiting.popleft())
                else:
                    self._idle.append(own)
            call, future = own.get()
            try:
                settle = partial(_settle, future, future.set_result, call())
            except Exception as error:  # noqa: BLE001 -- the request ends, and its thread goes on
                settle = partial(_settle, future, future.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended before the call
                future.get_loop().call_soon_threadsafe(settle)
            # Without this the thread would hold its last request's objects while it waits.
            del call, future, settle


def _settle(future: asyncio.Future[_Part], settle: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        settle(value)


def _parts(app: Flask, environ: dict[str, Any]) -> Generator[_Part]:
    """Call the application, and yield its answer: status, headers, bytes, whether more follow."""
    status, headers, waits_for = 0, [], 1.0

    def start(line: str, given: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        nonlocal status, headers, waits_for
        status, headers = int(line[:3]), encoded(given)
        if any(name == b"content-length" for name, _ in headers):
            waits_for = _PIECE_BYTES
        elif environ["SERVER_PROTOCOL"] != "HTTP/1.1":
            waits_for = math.inf  # HTTP/1.0 knows no chunks: the answer needs a length

    body = app(environ, start)
    made: list[bytes] = []
    size = 0
    try:
        for piece in body:
            made.append(piece)
            size += len(piece)
            if size >= waits_for:
                yield status, headers, b"".join(made), True
                made.clear()
                size = 0
    finally:
        if hasattr(body, "close"):
            body.close()
    if waits_for == math.inf:
        headers.append((b"content-length", str(size).encode()))
    yield status, headers, b"".join(made), False


def environ_of(scope: HTTPScope, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of a request."""
    host, port = scope["server"] or ("", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    # A body over the limit has a length and no bytes. The application checks the token first.
    length = scope["state"].get("announced_bytes", len(body))
    if length:
        environ["CONTENT_LENGTH"] = str(length)
    for name, value in scope["headers"]:
        key = _environ_key(name)
        if key is None:
            continue
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ


@lru_cache(1_024)
def _environ_key(name: bytes) -> str | None:
    """Return a header's name in the environment; None if the application must not see it.

    The environment cannot tell an underscore from a dash. `X_Forwarded_For` must not pass for
    `X-Forwarded-For`, which a proxy has judged.
    """
    if name in _FRAMING or b"_" in name:
        return None
    if name == b"content-type":
        return "CONTENT_TYPE"
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def _is_probe(scope: HTTPScope) -> bool:
    """Return whether a load balancer asks about this process, which needs no store."""
    path = scope["path"]
    # Only this query: with others `/readyz` may wait for a store.
    return path == "/healthz" or (path == "/readyz" and scope["query_string"] == b"stores=no")
