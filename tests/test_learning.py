"""Learn unit costs: the processor time of work is counted by kind and size, across processes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import micro_batches
from feedsvc.feed import reader
from feedsvc.planning import learning
from feedsvc.store.redis import usage, work
from feedsvc.store.redis.work import Tally

KINDS = ("read", "merge", "fetch", "upload", "enqueue", "link", "micro-batch", "take-off")
pieces = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 20_000), st.integers(0, 20_000)
    )
)


def tallied(counted):
    sums = Counter()
    for piece in counted:
        sums.update(work.counts(*piece))
    return work.parse(sums)


@given(pieces)
def test_work_is_added_up_by_kind_and_bucket(counted):
    found = tallied(counted)
    for kind in KINDS:
        of_kind = [piece for piece in counted if piece[0] == kind]
        tallies = found.get(kind, {})
        total = Tally(*map(sum, zip(*tallies.values(), strict=True))) if tallies else Tally()
        assert total.pieces == len(of_kind)
        assert total.size == sum(size for _, _, size, _ in of_kind)
        assert total.extra == sum(extra for *_, extra in of_kind)
        for bucket, tally in tallies.items():
            mean = tally.size / tally.pieces
            assert mean >= 2 ** (bucket - 1) if bucket else mean == 0


@given(pieces, pieces)
def test_the_work_of_several_services_is_added_up(one, other):
    assert learning.total([tallied(one), tallied(other)]) == tallied([*one, *other])


def test_other_counts_are_not_taken_for_work():
    assert work.parse({"lists": 3, "12": 1, "processor-ms": 7}) == {}


def test_a_service_counts_the_work_of_uploads_fan_outs_and_reads(world, monkeypatch):
    monkeypatch.setattr(usage, "SAMPLE_ONE_IN", 1)
    world.add_followers(9, range(1, 8))  # more than a slice: a link
    world.add_followers(10, [1])
    world.post(9)
    world.post(10)
    reader.home_page(world.stores, 1, None, 5)
    micro_batches.run(world.stores)
    world.drain()
    monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", 0)
    world.stores.usage.hand_over(world.stores.redis)
    found = {
        kind: Tally(*map(sum, zip(*tallies.values(), strict=True)))
        for kind, tallies in learning.figures(world.stores).items()
    }
    assert found["upload"].pieces == found["enqueue"].pieces == 2
    assert found["read"].pieces == 1
    assert found["merge"][:2] == (1, 2)
    assert found["fetch"][:2] == (1, 2)
    assert found["link"].size == 7
    assert found["micro-batch"][:3] == (1, 1, 1)
    assert all(tally.us > 0 for tally in found.values())
