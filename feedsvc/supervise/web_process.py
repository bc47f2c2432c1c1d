"""Run one web process. `feedsvc.supervise.web` starts it, with the sockets that it listens on."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from feedsvc.app import create_app
from feedsvc.errors import FeedsvcError
from feedsvc.front.server import Server
from feedsvc.front.shares import Shares
from feedsvc.settings import REQUEST_THREADS
from feedsvc.supervise.children import end_with_parent

if TYPE_CHECKING:
    from flask import Flask


def make_app() -> Flask:
    """Make the application of one web process."""
    app = create_app()
    # The objects of a started application stay for ever. Each collection that visits them again
    # costs a tenth of a read.
    gc.collect()
    gc.freeze()
    return app


def main() -> None:
    """Serve until SIGTERM. The arguments are those that `feedsvc.supervise.web` passes."""
    factory = sys.argv[1]
    parent, index, processes, file, *descriptors = map(int, sys.argv[2:])
    end_with_parent(parent)
    # Until the server handles it, a signal ends the process: there is nothing to drain.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    module, _, name = factory.partition(":")
    try:
        app = getattr(import_module(module), name)()
    except FeedsvcError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    shares = Shares(file, processes)
    most = app.config["MAX_CONTENT_LENGTH"]
    Server(app, listeners, shares, index, threads=REQUEST_THREADS, max_body_bytes=most).run()


if __name__ == "__main__":
    main()
