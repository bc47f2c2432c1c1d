"""Random operations between links, sweeps and losses: at every moment each feed is the oracle's."""

from __future__ import annotations

import random

import pytest

from feedsvc.planning import change

ACCOUNTS = [2**62 + number for number in range(8)]


class RandomRun:
    """One seeded run; `step` picks one of the other methods by weight."""

    def __init__(self, world, seed):
        self.world, self.dice = world, random.Random(seed)

    def step(self):
        weights = {
            self.post: 12,
            self.follow: 8,
            self.unfollow: 3,
            self.mute_or_block: 2,
            self.unmute_or_unblock: 3,
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
        [operation] = self.dice.choices(list(weights), weights.values())
        operation()

    def two(self):
        return self.dice.sample(ACCOUNTS, 2)

    def post(self):
        self.world.post(self.dice.choice(ACCOUNTS))

    def follow(self):
        self.world.follow(*self.two())

    def unfollow(self):
        self.world.unfollow(*self.two())

    def mute_or_block(self):
        self.dice.choice([self.world.mute, self.world.block])(*self.two())

    def unmute_or_unblock(self):
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
        demote_at = self.dice.randrange(1, 6)
        change.change(
            self.world.stores,
            promote_at=demote_at + self.dice.randrange(3),
            demote_at=demote_at,
            rollout_percent=self.dice.choice([50, 100]),
            reason="a random run",
            changed_by="test",
            if_match=None,
        )

    def read(self):
        viewer, limit = self.dice.choice(ACCOUNTS), self.dice.choice([1, 2, 7])
        assert self.world.read(viewer, limit) == self.world.oracle.feed(viewer)


@pytest.mark.parametrize("seed", range(6))
def test_every_feed_is_the_oracles_after_each_random_operation(world, seed):
    world.people(*ACCOUNTS)
    run = RandomRun(world, seed)
    for _ in range(160):
        run.step()
    world.drain()
    world.sweep()
    world.drain()
    assert world.is_exact(*ACCOUNTS)
    for account in ACCOUNTS:
        feed = world.stores.redis.llen(world.stores.keys.homefeed(account))
        assert feed <= world.stores.limits.feed_cap + world.stores.limits.feed_slack + 1
