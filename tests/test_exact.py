"""Random operations, interleaved with links, sweeps and losses: at every moment every feed is the oracle's."""

from __future__ import annotations

import random

import pytest

from feedsvc.planning import change

ACCOUNTS = [2**62 + number for number in range(8)]


class Chaos:
    """One seeded run; each method is something that can happen."""

    def __init__(self, world, seed):
        self.world, self.dice = world, random.Random(seed)

    def step(self):
        happenings = {
            self.post: 12,
            self.follow: 8,
            self.unfollow: 3,
            self.hide: 2,
            self.show: 3,
            self.delete: 2,
            self.run_link: 14,
            self.run_link_twice: 3,
            self.drop_message: 1,
            self.sweep: 4,
            self.lose_a_key: 3,
            self.flush: 1,
            self.change_threshold: 2,
            self.read: 12,
        }
        [happening] = self.dice.choices(list(happenings), happenings.values())
        happening()

    def two(self):
        return self.dice.sample(ACCOUNTS, 2)

    def post(self):
        self.world.post(self.dice.choice(ACCOUNTS))

    def follow(self):
        self.world.follow(*self.two())

    def unfollow(self):
        self.world.unfollow(*self.two())

    def hide(self):
        self.dice.choice([self.world.mute, self.world.block])(*self.two())

    def show(self):
        self.dice.choice([self.world.unmute, self.world.unblock])(*self.two())

    def delete(self):
        if self.world.oracle.posts:
            post, author = self.dice.choice(list(self.world.oracle.posts.items()))
            self.world.delete(author, post)

    def run_link(self):
        if self.world.queue:
            self.world.run_link(self.dice.randrange(len(self.world.queue)))

    def run_link_twice(self):
        if self.world.queue:
            self.world.run_link(self.dice.randrange(len(self.world.queue)), keep=True)

    def drop_message(self):
        if self.world.queue:
            self.world.queue.pop(self.dice.randrange(len(self.world.queue)))

    def sweep(self):
        self.world.sweep()

    def lose_a_key(self):
        key = self.world.stores.redis.randomkey()
        if key:
            self.world.stores.redis.delete(key)

    def flush(self):
        self.world.stores.redis.flushdb()

    def change_threshold(self):
        line = self.dice.randrange(1, 6)
        change.change(
            self.world.stores,
            promote_at=line + self.dice.randrange(3),
            demote_at=line,
            rollout_percent=self.dice.choice([50, 100]),
            reason="chaos",
            changed_by="test",
            if_match=None,
        )

    def read(self):
        viewer = self.dice.choice(ACCOUNTS)
        assert self.world.read(viewer, self.dice.choice([1, 2, 7])) == self.world.oracle.feed(
            viewer
        )


@pytest.mark.parametrize("seed", range(6))
def test_every_feed_is_the_oracles_whatever_happens(world, seed):
    world.people(*ACCOUNTS)
    chaos = Chaos(world, seed)
    for _ in range(160):
        chaos.step()
    world.drain()
    world.sweep()
    world.drain()
    assert world.is_exact(*ACCOUNTS)
    for account in ACCOUNTS:
        feed = world.stores.redis.llen(world.stores.keys.homefeed(account))
        assert feed <= world.stores.limits.feed_cap + world.stores.limits.feed_slack + 1
