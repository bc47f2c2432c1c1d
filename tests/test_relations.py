"""`relations:<viewer>`: a slow reader never stores relations that it read before a change."""

from __future__ import annotations

import pytest

from feedsvc.cache import relations
from feedsvc.feed import reader


@pytest.fixture
def while_read(monkeypatch):
    """Call something once, when a reader has read the relations from SQL and not stored them."""

    def arrange(happening):
        real = relations._read

        def read(connection, viewer):
            monkeypatch.setattr(relations, "_read", real)
            found = real(connection, viewer)
            happening()
            return found

        monkeypatch.setattr(relations, "_read", read)

    return arrange


@pytest.fixture
def followed(world):
    """Account 1 follows 9 but not 8. Both have posted, and no feed was read yet."""
    world.add_followers(9, [1])
    world.people(8)
    world.post(8)
    world.post(9)
    return world


CHANGES = {
    "follow": lambda world: world.follow(1, 8),
    "unfollow": lambda world: world.unfollow(1, 9),
    "mute": lambda world: world.mute(1, 9),
    "block": lambda world: world.block(9, 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_relations_that_change_while_they_are_read_are_read_again(followed, while_read, change):
    while_read(lambda: change(followed))
    reader.home_page(followed.stores, 1, None, 10)
    assert followed.is_exact(1)


def test_a_follow_does_not_show_posts_of_a_muted_account(followed):
    followed.mute(1, 8)
    assert followed.is_exact(1)
    followed.follow(1, 8)
    assert followed.is_exact(1)
