"""The public keys that verify tokens: a JWKS in a file, or the JWKS of a key server.

A key server may be down, slow or broken. So a background thread fetches the keys, one fetch at a
time, with a limit on its total time. While fetches fail, the last valid keys stay in use.
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

# The limit of one fetch, from the connection to the last byte.
_FETCH_SECONDS = 4.0
# The minimum time between the starts of two fetches. Unknown key ids do not shorten it.
_PAUSE_SECONDS = 5.0
# Requests wait for a fetch until it has run this long. After that they get a 503 immediately, so
# that a slow key server does not occupy the request threads.
_WAIT_SECONDS = 0.7
# Fetch the keys again after this time, so that a withdrawn key is no longer accepted.
_FRESH_SECONDS = 300.0
_MAX_BYTES = 1_048_576
_MAX_UNKNOWN_IDS = 1_000

_log = structlog.get_logger()


@dataclass(frozen=True)
class Key:
    """A public key, its key id, and the only algorithm that it verifies."""

    kid: str | None
    key: Any
    algorithm: str


class KeySet:
    """The usable keys of a JWKS."""

    def __init__(self, text: str | bytes) -> None:
        """Read a JWKS. Ignore keys that verify no signature of `ALGORITHMS`.

        Raises `ValueError` if the text is not a JWKS, or has no usable key.
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

    def matching(self, kid: str | None) -> list[Key]:
        """Return the keys with this key id. Return every key if `kid` is None."""
        return [key for key in self._keys if kid in (None, key.kid)]


class KeyServer:
    """The keys of a key server, fetched on demand."""

    def __init__(self, url: str) -> None:
        """Start no thread yet, so that each forked process starts its own."""
        self._url = url
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = self._next_at = -math.inf
        self._running: _Fetch | None = None
        # Hashes of unknown key ids, because the id in an unverified token may be long. Requests
        # asked for the ids in `_asked` since the last fetch began, and in `_asked_before` earlier.
        self._asked: set[int] = set()
        self._asked_before: frozenset[int] = frozenset()

    def matching(self, kid: str | None) -> list[Key]:
        """Return the keys with this key id. Return no key if the server has none of this id.

        Raises `StoreUnavailable` if no fetch has answered since a token first named the id.
        """
        found = self._fetched(kid)
        if found:
            if time.monotonic() - self._fetched_at > _FRESH_SECONDS:
                self._fetch_if_due()
            return found
        self._fetch_if_due(kid)
        if self._running is not None:
            self._running.wait()
        found = self._fetched(kid)
        if found or (self._keys is not None and hash(kid) in self._asked_before):
            return found
        unavailable = StoreUnavailable("key server")
        unavailable.retry_after_seconds = max(1, math.ceil(self._next_at - time.monotonic()))
        raise unavailable

    def _fetched(self, kid: str | None) -> list[Key]:
        return [] if self._keys is None else self._keys.matching(kid)

    def _fetch_if_due(self, *unknown: str | None) -> None:
        """Start a fetch in a thread, unless one is running or the last one started just now."""
        with self._lock:
            if len(self._asked) < _MAX_UNKNOWN_IDS:
                self._asked.update(map(hash, unknown))
            now = time.monotonic()
            if now < self._next_at or (self._running is not None and self._running.is_alive()):
                return
            self._next_at = now + _PAUSE_SECONDS
            asked, self._asked = frozenset(self._asked), set()
            running = _Fetch(now, threading.Thread(target=self._fetch, args=(asked, now)))
            running.start()
            self._running = running  # not before: `matching` waits for it without the lock

    def _fetch(self, asked: frozenset[int], began: float) -> None:
        try:
            keys = fetch(self._url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # The URL stays out of the log: it may carry a secret in its query.
            _log.warning("jwks.fetch_failed", cause=f"{type(error).__name__}: {error}")
            return
        if self._keys is None:
            # Allow the next fetch at once: the next token may name another key.
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
        """Return whether the fetch is running in this process. A forked process runs none."""
        return self.thread.is_alive()

    def wait(self) -> None:
        """Wait until the fetch has ended, or has run for `_WAIT_SECONDS`."""
        remaining = self.began + _WAIT_SECONDS - time.monotonic()
        if remaining > 0:
            self.thread.join(remaining)


def is_url(address: str) -> bool:
    """Return whether the setting names a key server. Otherwise it names a file."""
    return "://" in address


def check_address(address: str) -> None:
    """Raise `ValueError` for a URL that cannot be fetched. A file is not opened."""
    if not is_url(address):
        return
    url = urlsplit(address)  # raises ValueError
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise ValueError("must be a file, or a URL like https://host/jwks.json without a password")
    if url.port == 0:  # the property raises ValueError unless the port is a number up to 65535
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

    Raises `OSError`, `http.client.HTTPException`, or `ValueError` if the answer is not a JWKS.
    """
    limit = _Limit(_FETCH_SECONDS)
    opener = urllib.request.build_opener(_HttpHandler(limit), _HttpsHandler(limit))
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    try:
        with opener.open(request, timeout=_FETCH_SECONDS) as answer:
            text = answer.read(_MAX_BYTES + 1)
    except Exception:
        limit.check()
        raise
    finally:
        limit.cancel()
    limit.check()
    if len(text) > _MAX_BYTES:
        raise ValueError(f"is longer than {_MAX_BYTES} bytes")
    return KeySet(text)


@dataclass
class _Limit:
    """A limit on the total time of a fetch. A socket's timeout limits only each single read.

    At the limit the connections are shut down, which ends a pending read.
    """

    seconds: float
    is_over: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._timer = threading.Timer(self.seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def include(self, connection: socket.socket) -> None:
        """Shut this connection down at the limit."""
        self._sockets.append(connection)
        if self.is_over:
            self._end()

    def check(self) -> None:
        """Raise `TimeoutError` if the limit was reached."""
        if self.is_over:
            raise TimeoutError(f"no whole answer within {self.seconds:.0f} s")

    def cancel(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        for connection in self._sockets:
            try:
                # Call the base class's method. A TLS socket's own method would also change the TLS
                # state, which the reading thread uses.
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
    """Return the key of a member of a JWKS. Return None if it verifies no accepted signature."""
    try:
        read_key = jwt.PyJWK(member)
        is_for_signatures = member.get("use", "sig") == "sig" and "verify" in member.get(
            "key_ops", ["verify"]
        )
    except Exception:  # noqa: BLE001 -- a broken key must not hide the others
        return None
    if not is_for_signatures or read_key.algorithm_name not in ALGORITHMS:
        return None
    # A JWKS may contain private keys by mistake. Keep the public half.
    key = getattr(read_key.key, "public_key", lambda: read_key.key)()
    return Key(read_key.key_id, key, read_key.algorithm_name)
