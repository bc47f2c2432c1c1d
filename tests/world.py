"""A small world for tests: accounts that post, follow and read. An oracle gets the same changes.

The queue is a list, so that a test decides which link runs when, twice, or never.
"""

from __future__ import annotations

import json

import sqlalchemy as sa

from feedsvc.errors import Forbidden, NotFound
from feedsvc.fanout import chain, sweep
from feedsvc.feed import reader
from feedsvc.graph import accounts, follows, hiding
from feedsvc.planning import change
from feedsvc.posts import edit, publish
from feedsvc.store.redis import lists
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout
from tests.oracle import Oracle

# Tiny, as the limits are: a list of ten ids is longer than its head.
lists.HEAD_PAGE, lists.HEAD_LENGTH, lists.HINT_AFTER = 2, 8, 4


class World:
    def __init__(self, stores):
        self.stores = stores
        self.oracle = Oracle()
        self.queue = []

    def enqueue(self, post_id, generation, cursor, followers):
        self.queue.append((post_id, generation, cursor))

    def people(self, *ids):
        for account in ids:
            accounts.create(self.stores, account)

    def add_followers(self, followee, followers):
        """Create an account, and accounts that follow it."""
        self.people(followee, *followers)
        for follower in followers:
            self.follow(follower, followee)

    def post(self, author):
        made = publish.publish(
            self.stores, self.enqueue, author, photo_url="https://img.example/1.jpg", description=""
        )
        self.oracle.post(author, made.post_id)
        return made.post_id

    def delete(self, author, post_id):
        edit.delete(self.stores, author, post_id)
        self.oracle.delete(post_id)

    def follow(self, follower, followee):
        try:
            follows.follow(self.stores, follower, followee)
        except (Forbidden, NotFound):  # one blocks the other
            return
        self.oracle.follow(follower, followee)

    def unfollow(self, follower, followee):
        follows.unfollow(self.stores, follower, followee)
        self.oracle.unfollow(follower, followee)

    def mute(self, account, other):
        hiding.mute(self.stores, account, other)
        self.oracle.mute(account, other)

    def unmute(self, account, other):
        hiding.unmute(self.stores, account, other)
        self.oracle.unmute(account, other)

    def block(self, account, other):
        hiding.block(self.stores, account, other)
        self.oracle.block(account, other)

    def unblock(self, account, other):
        hiding.unblock(self.stores, account, other)
        self.oracle.unblock(account, other)

    def pull_all(self):
        """Pull the posts of every account from now on."""
        change.change(
            self.stores,
            promote_at=1,
            demote_at=1,
            rollout_percent=100,
            reason="test",
            changed_by="test",
            if_match=None,
        )

    def run_link(self, index=0, *, keep=False):
        link = self.queue[index] if keep else self.queue.pop(index)
        chain.run_link(self.stores, self.enqueue, *link)
        return link

    def drain(self):
        while self.queue:
            self.run_link()

    def time_passes(self):
        """Make every check of the sweep due now."""
        with self.stores.sql.writing() as connection:
            connection.execute(
                sa.update(Fanout)
                .where(Fanout.next_look_at.is_not(None))
                .values(next_look_at=db_time())
            )

    def sweep(self):
        self.time_passes()
        return sweep.sweep(self.stores, self.enqueue)

    def read(self, viewer, limit=3):
        """Return the ids of a whole walk from the top."""
        ids, cursor = [], None
        while True:
            page = reader.home_page(self.stores, viewer, cursor, limit)
            ids += map(post_id, page.items)
            assert page.next_cursor is None or len(page.items) == limit, (
                "only the last page may be short"
            )
            if page.next_cursor is None:
                return ids
            cursor = page.next_cursor

    def is_exact(self, *viewers):
        for viewer in viewers:
            assert self.read(viewer) == self.oracle.feed(viewer), f"the feed of {viewer}"
        return True


def post_id(body):
    return int(json.loads(body)["id"])
