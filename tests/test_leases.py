"""Leased strings: no value that was read before a change is stored after it."""

from __future__ import annotations

import threading

import pytest

from feedsvc.store.redis import leases

KEY = "relations:1"


def read(stores, build):
    [value] = leases.read_or_build(stores.redis, [KEY], lambda _: [build()], 60)
    return value


def test_a_view_is_built_once_and_then_read(stores):
    assert read(stores, lambda: b"one") == b"one"
    assert read(stores, lambda: pytest.fail("built again")) == b"one"
    assert leases.valid(stores.redis.get(KEY)) == b"one"


def test_a_change_while_a_view_is_built_leaves_it_absent(stores):
    def build():
        stores.redis.delete(KEY)
        return b"read before the change"

    assert read(stores, build) == b"read before the change"
    assert stores.redis.get(KEY) is None


def test_a_builder_does_not_store_under_the_token_of_a_later_builder(stores):
    def build():
        stores.redis.delete(KEY)
        assert read(stores, lambda: b"new") == b"new"
        return b"old"

    assert read(stores, build) == b"old"
    assert read(stores, lambda: pytest.fail("not stored")) == b"new"


def test_a_reader_adopts_the_token_of_a_builder_that_died(stores):
    with pytest.raises(ZeroDivisionError):
        read(stores, lambda: 1 / 0)
    assert leases.valid(stores.redis.get(KEY)) is None
    assert read(stores, lambda: b"one") == b"one"
    assert read(stores, lambda: pytest.fail("built again")) == b"one"


def test_an_empty_value_is_a_value(stores):
    assert read(stores, lambda: b"") == b""
    assert read(stores, lambda: pytest.fail("built again")) == b""


def test_only_missing_views_are_built(stores):
    assert leases.read_or_build(
        stores.redis, ["a", "b"], lambda missing: [b"0"] * len(missing), 60
    ) == [b"0", b"0"]
    stores.redis.delete("b")
    built = []

    def build(missing):
        built.extend(missing)
        return [b"1"] * len(missing)

    assert leases.read_or_build(stores.redis, ["a", "b"], build, 60) == [b"0", b"1"]
    assert built == [1]


def test_many_readers_never_see_a_view_older_than_the_last_change(make_stores):
    """A writer raises a number and deletes the view. After that no reader gets an older number."""
    truth, failures, done = [0], [], threading.Event()

    def reader(stores):
        while not done.is_set():
            before = truth[0]
            seen = int(read(stores, lambda: str(truth[0]).encode()))
            if seen < before - 1:  # the writer may not have deleted the view yet
                failures.append((seen, before))

    threads = [threading.Thread(target=reader, args=(make_stores(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    writer = make_stores()
    for number in range(1, 400):
        truth[0] = number
        writer.redis.delete(KEY)
        assert int(read(writer, lambda: str(truth[0]).encode())) == number
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
