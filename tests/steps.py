"""The steps of a process, made visible: a test may let it die before any of them, or hold it there while others go on.

A step is whatever reaches a store: anything sent to Redis, a transaction begun. Steps are counted per thread, so the test itself runs free.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from redis.connection import AbstractConnection

from feedsvc.store.sql.database import Database

_thread = threading.local()


class Died(BaseException):
    """The process is no more. Nothing of ours catches this."""


class Plan:
    """What is to happen at the next steps of one thread; `committed` tells whether it has committed a transaction."""

    def __init__(self, after):
        self.left, self.inside, self.committed = after, False, False

    def step(self):
        if self.left == 0:
            self.at_last()
        self.left -= 1

    def at_last(self):
        raise NotImplementedError


class _Death(Plan):
    def at_last(self):
        raise Died


class HeldStep(Plan):
    """A call in a thread of its own, held before a step of its until `go_on`. Never held inside a transaction that writes."""

    def __init__(self, call, after):
        super().__init__(after)
        self.answer = self.error = None
        self._paused, self._free = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()
        assert self._paused.wait(30), "a held call waits for something else"

    @property
    def is_over(self):
        return not self._thread.is_alive()

    def at_last(self):
        if self.inside:
            self.left += 1
            return
        self._paused.set()
        assert self._free.wait(600), "held and forgotten"

    def go_on(self):
        """Let it finish; returns its answer, or raises what it raised."""
        self._free.set()
        self._thread.join(30)
        assert self.is_over, "a call that was let go waits for something else"
        if self.error:
            raise self.error
        return self.answer

    def _run(self, call):
        _thread.plan = self
        try:
            self.answer = call()
        except BaseException as error:  # noqa: BLE001 -- raised again where it is awaited
            self.error = error
        self._paused.set()


def dies(call, after):
    """Run `call`, which dies before its step number `after`, counted from 0. Returns (its answer or None, its plan)."""
    plan = _thread.plan = _Death(after)
    try:
        return call(), plan
    except Died:
        return None, plan
    finally:
        _thread.plan = None


@contextmanager
def visible(monkeypatch):
    """While the block runs, steps are counted."""
    send, reading, writing = (
        AbstractConnection.send_packed_command,
        Database.reading,
        Database.writing,
    )

    def step():
        plan = getattr(_thread, "plan", None)
        if plan:
            plan.step()
        return plan

    def counted_send(self, *args, **options):
        step()
        return send(self, *args, **options)

    @contextmanager
    def counted_reading(self):
        step()
        with reading(self) as connection:
            yield connection

    @contextmanager
    def counted_writing(self):
        plan = step()
        with writing(self) as connection:
            if plan:
                plan.inside = True
            try:
                yield connection
            finally:
                if plan:
                    plan.inside = False
        if plan:
            plan.committed = True

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", counted_send)
        patch.setattr(Database, "reading", counted_reading)
        patch.setattr(Database, "writing", counted_writing)
        yield
