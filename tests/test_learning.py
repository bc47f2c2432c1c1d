"""Learn unit costs: the processor time of work is counted by kind and size, across processes."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import micro_batches
from feedsvc.feed import reader
from feedsvc.planning import unit_costs
from feedsvc.planning.costs import list_units
from feedsvc.planning.learning import DEFAULTS, THREAD_US, fit
from feedsvc.store.redis import usage, work
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.redis.work import Tally

WITH_SQL = {"upload_us", "take_off_us", "micro_batch_us", "link_us"}
KINDS = ("read", "merge", "fetch", "upload", "enqueue", "link", "micro-batch", "take-off")
pieces = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 20_000), st.integers(0, 20_000)
    )
)


def tallied(counted):
    sums = work.Sums()
    for piece in counted:
        sums.add(*piece)
    return work.parse(sums.counts())


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
def test_the_work_of_several_times_is_added_up(one, other):
    assert work.total([tallied(one), tallied(other)]) == tallied([*one, *other])


@given(pieces)
def test_work_survives_json(counted):
    found = tallied(counted)
    assert work.from_json(json.loads(json.dumps(found))) == found


def test_other_counts_are_not_taken_for_work():
    later = {"read:0:bytes": 9, "read:0:pieces": 1}
    assert work.parse({"lists": 3, "12": 1, "processor-ms": 7}) == {}
    assert work.parse(later) == {"read": {0: Tally(1)}}


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
        for kind, tallies in unit_costs.counted(world.stores).items()
    }
    assert found["upload"].pieces == found["enqueue"].pieces == 2
    assert found["read"].pieces == 1
    assert found["merge"][:2] == (1, 2)
    assert found["fetch"][:2] == (1, 2)
    assert found["link"].size == 7
    assert found["micro-batch"][:3] == (1, 1, 1)
    assert all(tally.us > 0 for tally in found.values())


def test_processes_that_read_and_processes_that_fan_out_are_counted(world, monkeypatch):
    monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", 0)
    world.people(1)
    assert usage.processes(world.stores.redis) == usage.Processes(reading=2, working=2)
    for _ in range(3):
        reader.home_page(replace(world.stores, usage=UsageCounter()), 1, None, 5)
    UsageCounter().hand_over(world.stores.redis)
    assert usage.processes(world.stores.redis) == usage.Processes(reading=3, working=1)


def a_service(us, pieces):
    """Return the work of a service with these costs in µs, with many pieces of each size."""
    counted = [("read", us["read_us"], 0, 0), ("upload", us["upload_us"], 0, 0)]
    for lists in (0, 1, 3, 9, 30, 90):
        cost = us["find_us"] + us["look_up_us"] + us["first_list_us"] * (lists > 0)
        counted.append(("merge", cost + us["list_us"] * list_units(lists, 4_000), lists, 4_000))
    for lists in (1, 4, 12):
        counted.append(("fetch", us["fetch_us"] + lists * us["fetched_list_us"], lists, 0))
    for followers in (300, 3_000, 10_000):
        cost = us["link_us"] + followers * us["follower_us"]
        counted.append(("link", cost, followers, 0))
    for posts in (1, 5, 20):
        cost = us["micro_batch_us"] + posts * us["small_post_us"] + 40 * us["follower_us"]
        counted.append(("micro-batch", cost, posts, 40))
    return {
        kind: {
            bucket: Tally(*(pieces * figure for figure in tally))
            for bucket, tally in tallies.items()
        }
        for kind, tallies in tallied((kind, us / 1e6, *size) for kind, us, *size in counted).items()
    }


def test_a_service_without_work_has_the_defaults_and_half_of_each_as_margin():
    found = fit({})
    assert found == DEFAULTS
    assert found.is_default
    for name, cost in vars(found.costs).items():
        assert getattr(found.margins, name) <= 0.5 * cost + 1e-9


@given(st.floats(1, 10))
def test_on_a_slower_machine_every_cost_is_higher_also_the_costs_of_work_not_counted(slower):
    found = fit(a_service({name: us * slower for name, us in THREAD_US.items()}, pieces=1_000))
    assert not found.is_default
    for name, cost in vars(DEFAULTS.costs).items():
        assert getattr(found.costs, name) == pytest.approx(slower * cost, rel=0.1)


@given(st.sampled_from(["list_us", "link_us", "micro_batch_us", "fetch_us", "read_us"]))
def test_a_cost_that_differs_is_learnt(name):
    found = fit(a_service(THREAD_US | {name: 3 * THREAD_US[name]}, pieces=10_000))
    expected = getattr(DEFAULTS.costs, name) + 2 * THREAD_US[name]
    assert getattr(found.costs, name) == pytest.approx(expected, rel=0.1)


@given(st.floats(0.1, 1))
def test_a_database_server_adds_its_share_to_work_that_writes_to_sql(share):
    counted = a_service(THREAD_US, pieces=1_000)
    alone, served = fit(counted).costs, fit(counted, sql_share=share).costs
    for name, cost in vars(alone).items():
        added = share * THREAD_US[name] if name in WITH_SQL else 0.0
        assert getattr(served, name) == pytest.approx(cost + added, rel=0.01)


@given(st.integers(1, 1_000), st.integers(1, 1_000))
def test_more_work_leaves_less_uncertainty(one, other):
    few, many = (fit(a_service(THREAD_US, pieces)).margins for pieces in sorted((one, other)))
    for name, margin in vars(many).items():
        assert margin <= getattr(few, name) * 1.01
