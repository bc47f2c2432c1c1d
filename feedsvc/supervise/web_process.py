"""Run one web process. `feedsvc.supervise.web` starts it, with the sockets that it listens on."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING

import click

from feedsvc.app import create_app
from feedsvc.errors import FeedsvcError
from feedsvc.front.server import Server
from feedsvc.settings import REQUEST_THREADS
from feedsvc.supervise.children import end_with_parent
from feedsvc.supervise.web import NOT_STARTED

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
    parent, *descriptors = map(int, sys.argv[2:])
    end_with_parent(parent)
    # Until the server handles it, a signal ends the process: there is nothing to drain.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    module, _, name = factory.partition(":")
    try:
        app = getattr(import_module(module), name)()
    except FeedsvcError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(NOT_STARTED)
    except Exception:  # noqa: BLE001 -- whatever it is, the next process would fail, too
        traceback.print_exc()
        sys.exit(NOT_STARTED)
    try:
        Server(app, REQUEST_THREADS).run([socket.socket(fileno=each) for each in descriptors])
    except OSError as error:
        # Two servers that start at once can both bind to a port. One of them listens first.
        click.echo(f"error: cannot listen ({error.strerror}); give another --port", err=True)
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main()
