"""The oracle itself follows the contract's definition of a feed."""

from __future__ import annotations

from tests.oracle import Oracle

POSTS = [("post", 1, 10), ("post", 2, 20), ("post", 3, 30), ("post", 2, 40)]


def feed(*operations, viewer=1):
    return Oracle([*POSTS, *operations]).feed(viewer)


def test_a_feed_has_the_posts_of_the_viewer_and_of_its_followees_newest_first():
    assert feed() == [10]
    assert feed(("follow", 1, 2)) == [40, 20, 10]
    assert feed(("follow", 2, 1)) == [10]
    assert feed(("follow", 1, 2), ("unfollow", 1, 2)) == [10]


def test_a_mute_hides_the_muted_account_from_the_muting_account_only():
    follows = [("follow", 1, 2), ("follow", 2, 1)]
    assert feed(*follows, ("mute", 1, 2)) == [10]
    assert feed(*follows, ("mute", 1, 2), viewer=2) == [40, 20, 10]
    assert feed(*follows, ("mute", 1, 2), ("unmute", 1, 2)) == [40, 20, 10]


def test_a_block_hides_both_accounts_from_each_other_and_ends_both_follows_for_good():
    follows = [("follow", 1, 2), ("follow", 2, 1)]
    for viewer, own in ((1, [10]), (2, [40, 20])):
        assert feed(*follows, ("block", 1, 2), viewer=viewer) == own
        assert feed(*follows, ("block", 1, 2), ("unblock", 1, 2), viewer=viewer) == own
    assert feed(("block", 1, 2), ("unblock", 1, 2), ("follow", 1, 2)) == [40, 20, 10]


def test_a_deleted_post_is_in_no_feed():
    assert feed(("follow", 1, 2), ("delete", 20)) == [40, 10]
    assert feed(("delete", 10), ("delete", 10)) == []
