"""The inputs of a replay: recordings, recent posts and reads, and the follow graph."""

from __future__ import annotations

import gzip
from array import array
from collections import Counter

import pytest

from feedsvc.planning.replay import observed
from feedsvc.planning.replay.follow_graph import NoAccounts, follow_graph_of, load
from feedsvc.store.redis import usage

GRAPH = follow_graph_of(
    [1, 2, 2**63 - 1], [(1, [2])], last_routes=[None] * 3, posts=array("I", [5, 0, 0])
)


def read(tmp_path, text):
    path = tmp_path / "events.txt"
    path.write_bytes(text)
    return observed.read_recording(path, GRAPH)


def test_a_recording_is_read(tmp_path):
    text = (
        b"# seconds what account\n\n0 post 1\n0.25\tread 2\n"
        b"1.5 read 9223372036854775807\n1.5 read 77\n"
    )
    found = read(tmp_path, text)
    work = found.workload
    assert (list(work.post_seconds), list(work.authors)) == ([0], [0])
    assert (list(work.read_seconds), list(work.viewers)) == ([0.25, 1.5], [1, 2])
    assert (found.unknown, list(work.has_feed), list(work.posts_before)) == (
        1,
        [0, 1, 1],
        [5, 0, 0],
    )
    assert (work.start_seconds, work.end_seconds, len(work)) == (0, 1.5, 3)
    assert read(tmp_path, gzip.compress(text)) == found


def test_an_empty_recording_has_no_events(tmp_path):
    work = read(tmp_path, b"").workload
    assert (len(work), work.start_seconds, work.end_seconds) == (0, 0, 0)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"2 post", "2 columns instead of 3"),
        (b"-1 post 1", "'-1' is not a time"),
        (b"nan post 1", "'nan' is not a time"),
        (b"1e9 post 1", "'1e9' is not a time"),
        (b"2 like 1", "'like' is neither post nor read"),
        (b"2 read 0", "'0' is not an id"),
        (b"2 read 9223372036854775808", "is not an id"),
        (b"2 read \xff", "is not an id"),
        (b"0.5 read 1", "0.5 is before the line above"),
    ],
)
def test_an_error_names_a_malformed_line_by_its_number(tmp_path, line, why):
    with pytest.raises(observed.BadRecording, match="line 3: ") as raised:
        read(tmp_path, b"# here\n1 read 1\n" + line + b"\n3 read 1\n")
    assert why in str(raised.value)
    assert str(raised.value).endswith("nothing was simulated")


def test_an_error_names_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(observed.BadRecording, match="No such file"):
        observed.read_recording(tmp_path / "none", GRAPH)
    whole = gzip.compress(b"1 read 1\n" * 1000)
    with pytest.raises(observed.BadRecording, match="end-of-stream"):
        read(tmp_path, whole[:-9])


def test_the_graph_of_the_database_is_loaded(world, stores):
    world.add_followers(9, [1, 2, 5])
    world.add_followers(2, [9])
    world.post(9)
    world.delete(9, world.post(9))
    progress = []
    found = load(stores, lambda *counts: progress.append(counts))
    numbers = {ident: number for number, ident in enumerate(found.ids)}
    assert list(numbers) == [1, 2, 5, 9]
    assert {found.ids[follower] for follower in found.followers(numbers[9])} == {1, 2, 5}
    assert [found.follower_count(number) for number in range(4)] == [0, 1, 0, 3]
    assert (list(found.last_routes), list(found.posts)) == (
        [None, None, None, "push"],
        [0, 0, 0, 1],
    )
    assert progress == [(1, 4), (3, 4)], "follows read since the last call, and all follows"


def test_a_replay_needs_accounts(stores):
    with pytest.raises(NoAccounts, match="graph generate"):
        load(stores)


def test_recent_posts_keep_their_times_and_deleted_posts_count(world, stores):
    world.people(3, 4)
    world.post(3)
    world.delete(4, world.post(4))
    numbers = {3: 0, 4: 1}
    times, authors = observed.recent_posts(stores, numbers, 60)
    assert list(authors) == [0, 1]
    assert 50 < times[0] <= times[1] <= 60
    assert list(observed.recent_posts(stores, {4: 1}, 60)[1]) == [1], (
        "account 3 is not in the graph"
    )
    assert observed.recent_posts(stores, numbers, 0) == (array("d"), array("I"))


def test_recent_days_have_the_reads_that_were_counted(world, stores, monkeypatch):
    world.add_followers(9, range(100, 130))
    world.post(9)
    by_viewer = Counter({viewer: viewer - 99 for viewer in range(100, 125)}) + Counter({4040: 9})
    monkeypatch.setattr(usage, "sampled_reads", lambda _: usage.Reads(by_viewer, 7_200))
    found = observed.recent_days(stores, load(stores), 72, seed=1)
    assert not found.reads_are_assumed
    assert len(found.workload.authors) == 1
    assert len(found.workload.viewers) == round(16 * by_viewer.total() / 100)
    assert set(found.workload.viewers) <= set(range(1, 26)), "accounts 100 to 124, by number"


def test_a_hundred_reads_for_each_post_are_assumed_if_too_few_were_counted(world, stores):
    world.add_followers(9, [1])
    world.post(9)
    progress = []
    found = observed.recent_days(
        stores, load(stores), 60, 1, lambda *counts: progress.append(counts)
    )
    assert found.reads_are_assumed
    assert (len(found.workload.authors), len(found.workload.viewers)) == (1, 100)
    assert progress == [(100, 100)]
