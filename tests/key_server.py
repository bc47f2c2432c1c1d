"""A key server on a free port that misbehaves as it is told, and the keys that it publishes."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm
from werkzeug.datastructures import Authorization


class SigningKey:
    """A key pair with an id."""

    def __init__(self, kid):
        self.kid = kid
        self._private = ed25519.Ed25519PrivateKey.generate()

    def public(self, **changes):
        """Return the member of a JWKS."""
        member = json.loads(OKPAlgorithm.to_jwk(self._private.public_key()))
        return {**member, "kid": self.kid, **changes}

    def token(self, account, *, kid=None, **claims):
        payload = {"sub": str(account), "scope": "feed", "exp": time.time() + 600, **claims}
        return jwt.encode(payload, self._private, "EdDSA", {"kid": kid or self.kid})

    def bearer(self, account, **more):
        return Authorization("bearer", token=self.token(account, **more))


class KeyServer:
    """Publishes `keys`. `behaviour` is good, reset, html, empty, broken, slow, drip or garbage.

    A slow answer waits until `released` is set. `fetches` counts the requests.
    """

    def __init__(self, *keys, behaviour="good"):
        self.keys, self.behaviour = [key.public() for key in keys], behaviour
        self.fetches = 0
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.fetches += 1
                outer.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        if self.behaviour == "reset":
            linger = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.connection.close()
            return
        if self.behaviour == "slow":
            self.released.wait(30)
        body = {
            "html": b"<html>Sign in</html>",
            "empty": b'{"keys": []}',
            "garbage": b"\xff" * 2_000_000,
        }.get(self.behaviour, json.dumps({"keys": self.keys}).encode())
        request.send_response(500 if self.behaviour == "broken" else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.behaviour == "drip":
            for byte in body:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                if self.released.wait(0.2):
                    return
        else:
            request.wfile.write(body)

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
