"""The queries of feeds return the posts that a scan of all posts finds, for any mix of authors."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from feedsvc.cache import feed_queries, newest_posts
from feedsvc.formats import MAX_ID
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Follow, Mute, Post

VIEWER = 1
AUTHORS = range(2, 14)


class Posts:
    """Random posts: some authors post much, some never."""

    def __init__(self, stores, seed):
        self.stores, self.dice = stores, random.Random(seed)
        self.followed = self.dice.sample(AUTHORS, self.dice.randint(0, 9))
        self.muted = self.dice.sample(AUTHORS, 2)
        talk = {author: self.dice.choice([0, 1, 1, 3, 30]) for author in (VIEWER, *AUTHORS)}
        count = self.dice.choice([5, 80, 200]) if any(talk.values()) else 0
        authors = self.dice.choices(list(talk), list(talk.values()), k=count) if count else []
        self.rows = [
            self.row(number * 10, author) for number, author in enumerate(authors, start=1)
        ]
        self.write()

    def row(self, post_id, author):
        return {
            "id": post_id,
            "author_id": author,
            "photo_url": "https://img.example/1.jpg",
            "description": "",
            "policy_version": 1,
            "route": self.dice.choice(["push", "push", "pull"]),
            "deleted_at": self.dice.choice([None, None, None, now()]),
        }

    def write(self):
        with self.stores.sql.writing() as connection:
            connection.execute(
                sa.insert(Account), [{"id": account} for account in (VIEWER, *AUTHORS)]
            )
            for table, column, others in (
                (Follow, "followee_id", self.followed),
                (Mute, "muted_id", self.muted),
            ):
                mine = "follower_id" if table is Follow else "account_id"
                if others:
                    connection.execute(
                        sa.insert(table), [{mine: VIEWER, column: other} for other in others]
                    )
            if self.rows:
                connection.execute(sa.insert(Post), self.rows)

    def of(self, authors, wanted=lambda _: True):
        return sorted(
            row["id"]
            for row in self.rows
            if row["author_id"] in authors and row["deleted_at"] is None and wanted(row)
        )

    def ask(self, query, *args, **more):
        with self.stores.sql.reading() as connection:
            return query(self.stores, connection, VIEWER, *args, **more)


@pytest.fixture(params=range(12))
def posts(stores, request):
    return Posts(stores, request.param)


@pytest.fixture(params=[(64, 8), (1, 1), (0, 8), (0, 1)], ids=str)
def limits(request, monkeypatch):
    """The real limits, and limits that take each way of a query even where it does not pay."""
    monkeypatch.setattr(feed_queries, "_NEARBY", request.param[0])
    monkeypatch.setattr(newest_posts, "_WORTH", request.param[1])


def test_a_home_list_has_the_newest_posts_routed_to_push(posts, limits):
    pushed = posts.of({VIEWER, *posts.followed}, lambda row: row["route"] == "push")
    for count in (1, 2, 7, 40, 300):
        assert posts.ask(feed_queries.pushed, count) == pushed[::-1][:count]


def test_a_page_has_the_posts_nearest_to_its_bound(posts, limits):
    seen = posts.of({VIEWER, *posts.followed} - set(posts.muted))
    for count in (1, 3, 20, 300, None):
        for bound in (0, 15, 400, 1_000, MAX_ID):
            below = posts.ask(
                feed_queries.seen, above=0, below=bound, count=count, order="newest first"
            )
            assert below == [post_id for post_id in seen[::-1] if post_id < bound][:count]
            above = posts.ask(
                feed_queries.seen, above=bound, below=MAX_ID, count=count, order="oldest first"
            )
            assert above == [post_id for post_id in seen if post_id > bound][:count]
