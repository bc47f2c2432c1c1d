"""A feed query returns the first posts of all authors, however few of each its passes read."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from feedsvc.cache import feed_queries, newest_posts
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Follow, Post

VIEWER = 99


@pytest.fixture
def posts(world, stores, monkeypatch):
    """Posts of ten followees. Two post nearly everything, one nothing; some posts are deleted or
    pulled.
    """
    monkeypatch.setattr(newest_posts, "_PASSES", (1, 3))
    monkeypatch.setattr(newest_posts, "_WORTH", 2)
    dice = random.Random(4)
    world.people(VIEWER, *range(1, 11))
    rows = [
        {
            "id": ident,
            "author_id": dice.choice([1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9])
            if ident > 150
            else dice.randint(2, 9),
            "photo_url": "https://img.example/1.jpg",
            "description": "",
            "route": dice.choice(["push", "push", "push", "pull"]),
            "policy_version": 1,
            "deleted_at": dice.choice([None, None, None, now()]),
        }
        for ident in range(1, 301)
    ]
    with stores.sql.writing() as connection:
        connection.execute(
            sa.insert(Follow),
            [{"follower_id": VIEWER, "followee_id": author} for author in range(1, 11)],
        )
        connection.execute(sa.insert(Post), rows)
    return [row for row in rows if row["deleted_at"] is None]


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 20, 100, 400])
def test_a_page_has_the_first_posts_of_all_authors_together(posts, stores, count):
    pushed = sorted((row["id"] for row in posts if row["route"] == "push"), reverse=True)
    between = [row["id"] for row in posts if 20 < row["id"] < 280]
    with stores.sql.reading() as connection:
        assert feed_queries.pushed(stores, connection, VIEWER, count) == pushed[:count]
        newest = feed_queries.seen(
            stores, connection, VIEWER, above=20, below=280, count=count, order="newest first"
        )
        oldest = feed_queries.seen(
            stores, connection, VIEWER, above=20, below=280, count=count, order="oldest first"
        )
    assert newest == sorted(between, reverse=True)[:count]
    assert oldest == sorted(between)[:count]


def test_a_viewer_without_followees_has_no_posts(world, stores):
    world.people(7)
    with stores.sql.reading() as connection:
        assert feed_queries.pushed(stores, connection, 7, 50) == []
