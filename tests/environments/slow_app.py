"""An application that hangs, streams and counts, for tests of the web server in front of it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from flask import Flask, Response, request

STREAMED_BYTES = 64 * 1024 * 1024


def make_app():
    app = Flask("slow")
    app.config["MAX_CONTENT_LENGTH"] = 1_048_577

    @app.get("/healthz")
    def healthz():
        return {"status": "ok"}

    @app.get("/readyz")
    @app.get("/hang")
    def hang():
        """Hold a request thread until the file exists."""
        release = Path(request.args["until"])
        while not release.exists():
            time.sleep(0.01)
        return {"hung": True}

    @app.post("/digest")
    def digest():
        """Return what arrived, and note it in a file: nothing of a cut-off body may arrive."""
        body = request.get_data()
        if "note" in request.args:
            with Path(request.args["note"]).open("a") as notes:
                notes.write(f"{len(body)}\n")
        return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @app.get("/stream")
    def stream():
        piece = b"x" * 65_536
        return Response((piece for _ in range(STREAMED_BYTES // len(piece))), mimetype="text/plain")

    return app
