"""Share nothing with a process that this one was forked from.

A server that loads the application before it forks (`gunicorn --preload`), and a prefork pool of
Celery, copy everything that is open. Two processes on one connection could swap their answers. So
each object with connections, copies or counts of its process forgets them in the child.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_forgetting: list[weakref.WeakMethod[Callable[[], None]]] = []


def call_in_child(forget: Callable[[], None]) -> None:
    """Call a bound method in each process that is forked from this one. Keeps its object not alive.

    In the child no other thread exists, so `forget` replaces locks and takes none. It must not
    close what the parent uses.
    """
    _forgetting.append(weakref.WeakMethod(forget, _forgetting.remove))


def abandon(inherited: object) -> None:
    """Keep an object of the parent until this process ends, and do not even end it then.

    The end of a connection object tells the server to close the connection, which the parent uses.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _forget_all() -> None:
    for each in _forgetting:
        forget = each()
        if forget is not None:
            forget()


os.register_at_fork(after_in_child=_forget_all)
