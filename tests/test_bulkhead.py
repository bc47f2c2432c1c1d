"""The bulkhead: a store that hangs holds at most half of the threads that answer requests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from feedsvc.errors import StoreUnavailable
from feedsvc.store.bulkhead import PATIENCE_SECONDS, Bulkhead

THREADS = 8


class Clock:
    now = 100.0

    def __call__(self):
        return self.now

    def pass_patience(self):
        self.now += PATIENCE_SECONDS + 0.1


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bulkhead(clock):
    return Bulkhead("database", THREADS, clock)


class User:
    """A thread that is inside the store until it is told to leave, with or without an answer."""

    def __init__(self, bulkhead):
        self._bulkhead, self._told, self._entered = bulkhead, threading.Event(), threading.Event()
        self._asked, self._replied, self.may_go_on = threading.Event(), threading.Event(), None
        self._succeeds = True
        self._thread = threading.Thread(target=self._use, daemon=True)
        self._thread.start()
        assert self._entered.wait(5)

    def asks(self):
        self._replied.clear()
        self._asked.set()
        assert self._replied.wait(5)
        return self.may_go_on

    def leave(self, *, succeeds=True):
        self._succeeds = succeeds
        self._told.set()
        self._asked.set()
        self._thread.join(5)

    def _use(self):
        try:
            with self._bulkhead.entered():
                self._entered.set()
                while self._asked.wait(5) and not self._told.is_set():
                    self._asked.clear()
                    self.may_go_on = self._bulkhead.may_go_on()
                    self._replied.set()
                if not self._succeeds:
                    raise StoreUnavailable("database", "no answer")
        except StoreUnavailable:
            pass


@contextmanager
def users(bulkhead, count):
    inside = [User(bulkhead) for _ in range(count)]
    yield inside
    for user in inside:
        user.leave()


def is_refused(bulkhead):
    try:
        with bulkhead.entered():
            return False
    except StoreUnavailable:
        return True


def test_every_thread_may_use_a_store_that_answers(bulkhead):
    with users(bulkhead, THREADS - 1):
        assert not is_refused(bulkhead)


def test_half_of_the_threads_in_slow_uses_make_the_next_one_fail_at_once(bulkhead, clock):
    with users(bulkhead, 3) as first:
        clock.pass_patience()
        assert not is_refused(bulkhead)
        with users(bulkhead, 1):
            clock.pass_patience()
            assert is_refused(bulkhead)
            first[0].leave()
            assert not is_refused(bulkhead)


def test_half_of_the_threads_that_wait_together_give_up_after_the_patience(bulkhead, clock):
    with ExitStack() as stack:
        waiting = []
        for _ in range(THREADS):
            waiting += stack.enter_context(users(bulkhead, 1))
            clock.now += 0.01
        assert all(user.asks() for user in waiting)
        clock.pass_patience()
        assert [user.asks() for user in waiting] == [True] * 4 + [False] * 4


def test_after_a_failure_half_may_try_until_one_succeeds(bulkhead):
    User(bulkhead).leave(succeeds=False)
    with users(bulkhead, 4) as waiting:
        assert is_refused(bulkhead)
        waiting[0].leave()
        with users(bulkhead, 4):
            assert not is_refused(bulkhead)


def test_a_long_use_that_gets_answers_is_not_slow(clock):
    bulkhead = Bulkhead("database", 2, clock)
    with bulkhead.entered():
        for _ in range(5):
            clock.pass_patience()
            bulkhead.answered()
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(is_refused, bulkhead).result()
            clock.pass_patience()
            assert pool.submit(is_refused, bulkhead).result()


def test_a_use_inside_a_use_counts_once(clock):
    bulkhead = Bulkhead("database", 2, clock)
    with bulkhead.entered():
        clock.pass_patience()
        with bulkhead.entered():
            assert bulkhead.may_go_on()
        assert ThreadPoolExecutor(1).submit(is_refused, bulkhead).result()
    assert not is_refused(bulkhead)


def test_a_thread_outside_may_go_on(bulkhead):
    assert bulkhead.may_go_on()
