"""The oracle itself, against the words of the contract."""

from __future__ import annotations

from tests.oracle import Oracle

POSTS = [("post", 1, 10), ("post", 2, 20), ("post", 3, 30), ("post", 2, 40)]


def feed(*operations, viewer=1):
    return Oracle([*POSTS, *operations]).feed(viewer)


def test_a_feed_is_ones_own_posts_and_those_of_whom_one_follows_newest_first():
    assert feed() == [10]
    assert feed(("follow", 1, 2)) == [40, 20, 10]
    assert feed(("follow", 2, 1)) == [10]
    assert feed(("follow", 1, 2), ("unfollow", 1, 2)) == [10]


def test_the_muted_are_hidden_from_who_mutes_them_only():
    follows = [("follow", 1, 2), ("follow", 2, 1)]
    assert feed(*follows, ("mute", 1, 2)) == [10]
    assert feed(*follows, ("mute", 1, 2), viewer=2) == [40, 20, 10]
    assert feed(*follows, ("mute", 1, 2), ("unmute", 1, 2)) == [40, 20, 10]


def test_a_block_hides_each_from_the_other_and_ends_both_follows_for_good():
    follows = [("follow", 1, 2), ("follow", 2, 1)]
    for viewer, own in ((1, [10]), (2, [40, 20])):
        assert feed(*follows, ("block", 1, 2), viewer=viewer) == own
        assert feed(*follows, ("block", 1, 2), ("unblock", 1, 2), viewer=viewer) == own
    assert feed(("block", 1, 2), ("unblock", 1, 2), ("follow", 1, 2)) == [40, 20, 10]


def test_a_deleted_post_is_in_no_feed():
    assert feed(("follow", 1, 2), ("delete", 20)) == [40, 10]
    assert feed(("delete", 10), ("delete", 10)) == []
