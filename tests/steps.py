"""Count the steps of a process. A test may let a process die, or pause, before any of its steps.

A step is an access to a store: a command or pipeline sent to Redis, or a transaction begun. Steps
are counted for each thread, so the steps of the test itself are free.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from redis.connection import AbstractConnection

from feedsvc.store.sql.database import Database

_thread = threading.local()


class Died(BaseException):
    """The end of a process. No code of the service catches it."""


class Plan:
    """The plan for the next steps of one thread: `after` steps run, then `at_last` is called.

    `committed`: the thread has committed a transaction. `inside`: it is in a writing transaction.
    """

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


class PausedCall(Plan):
    """A call in a thread of its own, paused before one of its steps until `resume`.

    A call does not pause inside a writing transaction; it pauses before the first step after it.
    """

    def __init__(self, call, after):
        super().__init__(after)
        self.answer = self.error = None
        self._paused, self._resumed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()
        assert self._paused.wait(30), "the call neither reached its pause nor ended within 30 s"

    @property
    def is_over(self):
        return not self._thread.is_alive()

    def at_last(self):
        if self.inside:
            self.left += 1
            return
        self._paused.set()
        assert self._resumed.wait(600), "no test resumed the call within 600 s"

    def resume(self):
        """Let the call finish; return its answer, or raise its error."""
        self._resumed.set()
        self._thread.join(30)
        assert self.is_over, "the call did not end within 30 s after it was resumed"
        if self.error:
            raise self.error
        return self.answer

    def _run(self, call):
        _thread.plan = self
        try:
            self.answer = call()
        except BaseException as error:  # noqa: BLE001 -- `resume` raises it
            self.error = error
        self._paused.set()


def dies(call, after):
    """Run a call that dies before its step number `after`, counted from 0.

    Return its answer and its plan. The answer is None if the call died.
    """
    plan = _thread.plan = _Death(after)
    try:
        return call(), plan
    except Died:
        return None, plan
    finally:
        _thread.plan = None


@contextmanager
def counted(monkeypatch):
    """Count steps while the block runs."""
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
