"""Drop the connections, copies and counts of the parent process after a fork.

`gunicorn --preload` and Celery's prefork pool fork a process that has open connections. If parent
and child used the same connection, each could read the other's answers. So each object that belongs
to one process registers a method here, which resets the object in the child.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Owners with their methods. A `WeakMethod` prints an error at the end of a process (Python 3.11).
_forgetting: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []


def call_in_child(forget: Callable[[], None]) -> None:
    """Call a bound method in each process that is forked from this one.

    The registration does not keep the object alive. `forget` must replace locks and acquire none: a
    lock may have been held at the fork by a thread that the child does not have. `forget` must not
    close a connection, because the parent uses it.
    """
    assert isinstance(forget, MethodType), "the registration refers to the method's object"

    def drop(_: object, remove: Callable[[Any], None] = _forgetting.remove) -> None:
        remove(entry)

    entry = (weakref.ref(forget.__self__, drop), forget.__func__)
    _forgetting.append(entry)


def abandon(inherited: object) -> None:
    """Never destroy an object of the parent in this process.

    The destructor of a connection tells the server to close it, and the parent still uses it.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _forget_all() -> None:
    for reference, forget in _forgetting:
        owner = reference()
        if owner is not None:
            forget(owner)


os.register_at_fork(after_in_child=_forget_all)
