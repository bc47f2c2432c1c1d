"""The public keys that verify tokens: a JWKS in a file, or the JWKS of a key server.

A key server may be away, slow, or answer nonsense. So a thread of its own fetches the keys, one
fetch at a time, with a limit on its whole duration. The last good keys serve while fetching fails.
"""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog

from feedsvc.errors import StoreUnavailable

ALGORITHMS = ("RS256", "ES256", "EdDSA")

# The whole of a fetch, from the connection to the last byte.
_FETCH_SECONDS = 4.0
# From the beginning of a fetch to the next one, however many unknown key ids are asked for.
_PAUSE_SECONDS = 5.0
# Requests wait for a fetch that began less than this ago. Later ones get a 503 immediately, so that
# a slow key server cannot occupy the threads that answer requests.
_WAIT_SECONDS = 0.7
# Keys older than this are fetched again, so that a key that was withdrawn stops to count.
_FRESH_SECONDS = 300.0
_MOST_BYTES = 1_048_576
_MOST_UNKNOWN_IDS = 1_000

_log = structlog.get_logger()


@dataclass(frozen=True)
class Key:
    """A public key, its id, and the one algorithm that it is for."""

    kid: str | None
    key: Any
    algorithm: str


class KeySet:
    """The usable keys of a JWKS."""

    def __init__(self, text: str | bytes) -> None:
        """Read a JWKS. A key that is not for signatures of `ALGORITHMS` is ignored.

        Raises `ValueError` if the text is no JWKS, or has no usable key.
        """
        try:
            members = json.loads(text)["keys"]
            self._keys = [key for member in members if (key := _usable(member)) is not None]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError('is not a JWKS: a JSON object {"keys": [...]}') from None
        if not self._keys:
            raise ValueError(f"has no key for signatures with {', '.join(ALGORITHMS)}")

    def __len__(self) -> int:
        """Return the number of usable keys."""
        return len(self._keys)

    def fitting(self, kid: str | None) -> list[Key]:
        """Return the keys with this id; every key for a token that names none."""
        return [key for key in self._keys if kid in (None, key.kid)]


class KeyServer:
    """The keys of a server, fetched when they are asked for."""

    def __init__(self, url: str) -> None:
        """Fetch nothing yet: a process that is forked after this makes a thread of its own."""
        self._url = url
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = self._next_at = -math.inf
        self._running: _Fetch | None = None
        # Hashes of ids that were asked for since the last fetch began, and before it. An id comes
        # from a token that nobody has verified, and may be long.
        self._asked: set[int] = set()
        self._asked_before: frozenset[int] = frozenset()

    def fitting(self, kid: str | None) -> list[Key]:
        """Return the keys with this id; none if the server does not have it.

        Raises `StoreUnavailable` while that cannot be known.
        """
        found = self._known(kid)
        if found:
            if time.monotonic() - self._fetched_at > _FRESH_SECONDS:
                self._fetch_if_due()
            return found
        self._fetch_if_due(kid)
        if self._running is not None:
            self._running.wait()
        found = self._known(kid)
        if found or (self._keys is not None and hash(kid) in self._asked_before):
            return found
        unavailable = StoreUnavailable("key server")
        unavailable.retry_after_seconds = max(1, math.ceil(self._next_at - time.monotonic()))
        raise unavailable

    def _known(self, kid: str | None) -> list[Key]:
        return [] if self._keys is None else self._keys.fitting(kid)

    def _fetch_if_due(self, *unknown: str | None) -> None:
        """Begin a fetch in a thread, unless one is running or the last one began just now."""
        with self._lock:
            if len(self._asked) < _MOST_UNKNOWN_IDS:
                self._asked.update(map(hash, unknown))
            now = time.monotonic()
            if now < self._next_at or (self._running is not None and self._running.is_alive()):
                return
            self._next_at = now + _PAUSE_SECONDS
            asked, self._asked = frozenset(self._asked), set()
            self._running = _Fetch(now, threading.Thread(target=self._fetch, args=(asked, now)))
            self._running.start()

    def _fetch(self, asked: frozenset[int], began: float) -> None:
        try:
            keys = fetch(self._url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # The URL stays out of the log: it may carry a secret in its query.
            _log.warning("jwks.fetch_failed", cause=f"{type(error).__name__}: {error}")
            return
        if self._keys is None:
            # A token with another key may arrive right after the first one.
            self._next_at = -math.inf
        self._asked_before = asked
        self._fetched_at = began
        self._keys = keys


@dataclass(frozen=True)
class _Fetch:
    began: float
    thread: threading.Thread

    def start(self) -> None:
        self.thread.daemon = True
        self.thread.start()

    def is_alive(self) -> bool:
        """Return whether the fetch is running in this process. After a fork it is not."""
        return self.thread.is_alive()

    def wait(self) -> None:
        """Wait for the end of the fetch, or until it has lasted `_WAIT_SECONDS`."""
        remaining = self.began + _WAIT_SECONDS - time.monotonic()
        if remaining > 0:
            self.thread.join(remaining)


def is_url(address: str) -> bool:
    """Return whether the setting names a key server, and not a file."""
    return "://" in address


def check_address(address: str) -> None:
    """Raise `ValueError` for a URL that cannot be fetched. A file is not looked at."""
    if not is_url(address):
        return
    url = urlsplit(address)  # raises ValueError
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise ValueError("must be a file, or a URL like https://host/jwks.json without a password")
    if url.port == 0:  # the property raises ValueError if the port is no number up to 65535
        raise ValueError("must have a port from 1 to 65535")


def read(path: str) -> KeySet:
    """Read the keys in a file. Raises `ValueError`."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return KeySet(text)


def fetch(url: str) -> KeySet:
    """Fetch the keys from a server.

    Raises `OSError`, `http.client.HTTPException`, or `ValueError` for an answer that is no JWKS.
    """
    limit = _Limit(_FETCH_SECONDS)
    opener = urllib.request.build_opener(_HttpHandler(limit), _HttpsHandler(limit))
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    try:
        with opener.open(request, timeout=_FETCH_SECONDS) as answer:
            text = answer.read(_MOST_BYTES + 1)
    except Exception:
        limit.check()
        raise
    finally:
        limit.cancel()
    limit.check()
    if len(text) > _MOST_BYTES:
        raise ValueError(f"is longer than {_MOST_BYTES} bytes")
    return KeySet(text)


@dataclass
class _Limit:
    """A limit on the duration of a fetch. A time-out of a socket only limits each single wait.

    At its end the connection is shut down, so that a wait for its next byte ends, too.
    """

    seconds: float
    is_over: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._timer = threading.Timer(self.seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def include(self, connection: socket.socket) -> None:
        """Shut the connection down at the end."""
        self._sockets.append(connection)
        if self.is_over:
            self._end()

    def check(self) -> None:
        """Raise `TimeoutError` if the time was over."""
        if self.is_over:
            raise TimeoutError(f"no whole answer within {self.seconds:.0f} s")

    def cancel(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        for connection in self._sockets:
            try:
                # The method of the base class leaves the TLS state to the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:  # closed already
                continue


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, limit: _Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_limited(http.client.HTTPConnection, self._limit), request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, limit: _Limit) -> None:
        super().__init__()
        self._limit = limit

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_limited(http.client.HTTPSConnection, self._limit), request)


def _limited(kind: type[http.client.HTTPConnection], limit: _Limit) -> Any:
    class Limited(kind):  # type: ignore[misc,valid-type]
        def connect(self) -> None:
            super().connect()
            limit.include(self.sock)

    return Limited


def _usable(member: Any) -> Key | None:
    """Return the key of a JWKS's member; None if it is not for signatures that are accepted."""
    try:
        read_key = jwt.PyJWK(member)
        is_for_signatures = member.get("use", "sig") == "sig" and "verify" in member.get(
            "key_ops", ["verify"]
        )
    except Exception:  # noqa: BLE001 -- whatever is wrong with a key, the other ones count
        return None
    if not is_for_signatures or read_key.algorithm_name not in ALGORITHMS:
        return None
    # Somebody may have published the private half.
    key = getattr(read_key.key, "public_key", lambda: read_key.key)()
    return Key(read_key.key_id, key, read_key.algorithm_name)
