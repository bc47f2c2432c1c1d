"""The set of celebrities and a process's copy of it: a superset at any time, never a miss."""

from __future__ import annotations

from feedsvc.store.redis import celebrities
from feedsvc.store.redis.celebrities import CelebrityCopy
from feedsvc.store.redis.keys import CELEBRITIES


def make_valid(stores, *authors):
    marker = celebrities.open_to_build(stores.redis)
    celebrities.finish(stores.redis, marker, authors)


def ask(stores, copy):
    with stores.redis.pipeline(transaction=False) as pipe:
        asked = copy.ask(pipe)
        return asked, pipe.execute()[0]


def known(stores, copy):
    found = copy.learn(*ask(stores, copy))
    return found if found is not None else copy.reload(stores.redis)


def test_an_absent_set_is_not_an_empty_one(stores):
    assert known(stores, CelebrityCopy()) is None


def test_a_put_into_an_absent_set_does_not_make_it_valid(stores):
    celebrities.put(stores.redis, 7)
    assert known(stores, CelebrityCopy()) is None
    make_valid(stores, 5)
    assert set(known(stores, CelebrityCopy()).among([5, 6, 7])) == {5, 7}


def test_a_copy_learns_what_was_put_since_it_asked_last(stores):
    make_valid(stores)
    copy = CelebrityCopy()
    assert known(stores, copy).among([7]) == {}
    celebrities.put(stores.redis, 7)
    _, answer = ask(stores, copy)
    assert len(answer) == 3, "the author, the counter, the marker"
    assert set(known(stores, copy).among([7])) == {7}
    _, answer = ask(stores, copy)
    assert len(answer) == 1, "nothing but the marker is new"


def test_a_copy_of_a_lost_set_is_not_trusted(stores):
    make_valid(stores, 7)
    copy = CelebrityCopy()
    known(stores, copy)
    stores.redis.delete(CELEBRITIES)
    assert known(stores, copy) is None
    celebrities.put(stores.redis, 8)
    assert known(stores, copy) is None
    make_valid(stores, 9)
    assert set(known(stores, copy).among([7, 8, 9])) == {8, 9}


def test_an_author_that_was_put_again_is_not_removed(stores):
    make_valid(stores)
    celebrities.put(stores.redis, 7)
    number = celebrities.number_of(stores.redis, 7)
    celebrities.put(stores.redis, 7)
    celebrities.remove(stores.redis, 7, number)
    assert celebrities.number_of(stores.redis, 7) is not None
    celebrities.remove(stores.redis, 7, celebrities.number_of(stores.redis, 7))
    assert celebrities.number_of(stores.redis, 7) is None


def test_a_reader_that_asked_before_an_author_was_forgotten_still_knows_it(stores):
    """Its home feed was read in the same trip: it may not have the post that was moved since."""
    make_valid(stores, 7)
    copy = CelebrityCopy()
    numbers = known(stores, copy).among([7])
    asked, answer = ask(stores, copy)
    copy.forget(numbers)
    assert set(copy.learn(asked, answer).among([7])) == {7}
    assert known(stores, copy).among([7]) == {}


def test_an_author_put_again_is_not_forgotten(stores):
    make_valid(stores, 7)
    copy = CelebrityCopy()
    numbers = known(stores, copy).among([7])
    celebrities.put(stores.redis, 7)
    known(stores, copy)
    copy.forget(numbers)
    assert set(known(stores, copy).among([7])) == {7}


def test_a_reload_that_was_overtaken_does_not_take_the_copy_back(stores):
    make_valid(stores)
    copy, slow = CelebrityCopy(), stores.redis

    class Overtaken:
        """A client whose answer arrives after another thread has learned more."""

        def pipeline(self, **options):
            pipe = slow.pipeline(**options)
            execute = pipe.execute

            def late():
                answer = execute()
                celebrities.put(slow, 7)
                known(stores, copy)
                return answer

            pipe.execute = late
            return pipe

    known(stores, copy)
    copy.reload(Overtaken())
    assert set(known(stores, copy).among([7])) == {7}
