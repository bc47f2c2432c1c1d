"""A process that ends when the one that started it has ended, however that happened.

On Linux the kernel does this for the direct children of `up`; this also covers their children (web workers), and macOS.
"""

from __future__ import annotations

import os
import threading
import time

_POLL_SECONDS = 0.25


def watch(parent: int) -> None:
    """From now on, end this process soon after the parent with this pid is gone, which it may be already."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="orphan-watch").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
