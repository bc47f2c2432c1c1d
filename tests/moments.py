"""Rules of the state machine for situations that single random steps reach too rarely.

They are posts that have moved into home feeds, and changes in the middle of a read, a sweep or a
fan-out. Without these rules the machine found five of the errors of tests/planted.py.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

ACCOUNTS = [2**62 + number for number in range(8)]  # they tie as doubles

accounts = st.sampled_from(ACCOUNTS)
pairs = st.permutations(ACCOUNTS).map(lambda order: (order[0], order[1]))
any_index = st.integers(0, 2**16)
step_numbers = st.integers(0, 8) | st.integers(0, 25)  # a change has few steps, a sweep many
relations = st.sampled_from(
    ["follow"] * 4 + ["unfollow", "unfollow", "mute", "block", "unmute", "unblock"]
)

can_pause = precondition(lambda self: self.change is None and len(self.paused) < 3)


class Moments(RuleBasedStateMachine):
    """Rules made of the rules of tests/machine.py; each ends with a read of the affected feeds."""

    @rule(viewer=accounts, which=any_index, count=st.integers(1, 5))
    def posts_move(self, viewer, which, count):
        """Push posts and take them off the celebrity list, unless they are pulled."""
        self.post(self.seen_by(viewer, which), count, late=False, pause_ms=0)
        self.drain()
        self.sweep()

    @rule(viewer=accounts, which=any_index, count=st.integers(1, 14), after=step_numbers)
    @can_pause
    def posts_move_while_a_feed_is_rebuilt(self, viewer, which, count, after):
        self.lose("homefeed", viewer)
        self.pause_a_read(viewer, after)
        self.posts_move(viewer, which, count)
        self.resume(len(self.paused) - 1)
        self.assert_exact(viewer, 100)

    @rule(kind=relations, pair=pairs, after=step_numbers)
    @can_pause
    def a_relation_changes_while_it_is_read(self, kind, pair, after):
        self.lose("relations", pair[0])
        self.pause_a_read(pair[0], after)
        self.relate(kind, pair)
        self.resume(len(self.paused) - 1)
        self.assert_exact(pair[0], 100)

    @rule(viewer=accounts, which=any_index, after=step_numbers)
    @can_pause
    def an_upload_falls_into_a_sweep(self, viewer, which, after):
        author = self.seen_by(viewer, which)
        self.post(author, 1, late=False, pause_ms=0)
        self.drain()
        self.pause_a_sweep(after)
        self.post(author, 1, late=False, pause_ms=0)
        self.resume(len(self.paused) - 1)
        self.assert_exact(viewer, 100)

    @rule(which=any_index)
    @precondition(lambda self: self.change is None)
    def a_follower_leaves_between_two_links(self, which):
        author = max(ACCOUNTS, key=lambda account: len(self.followers(account)))
        followers = self.followers(author)
        for follower in followers:
            self.assert_exact(follower, 100)
        self.post(author, 1, late=False, pause_ms=0)
        if self.served.queue:
            self.run_link(len(self.served.queue) - 1, "once")
        if followers:
            self.relate("unfollow", (followers[which % min(3, len(followers))], author))
        self.drain()
        self.sweep()
        for follower in followers:
            self.assert_exact(follower, 100)

    @rule(viewer=accounts, which=any_index, other=any_index, after=st.integers(2, 6))
    @can_pause
    @precondition(lambda self: len(self.polls) < 2 and len(self.oracles) == 1)
    def polls_pass_a_late_put(self, viewer, which, other, after):
        """A put is late. A newer post is polled meanwhile, with a clock that may be set back."""
        self.start_poll(viewer, limit=2)
        poll = len(self.polls) - 1
        self.pause_an_upload(self.seen_by(viewer, which), after)
        self.post(self.seen_by(viewer, other), 2, late=which % 2 == 0, pause_ms=9_000)
        for _ in range(2):
            self.poll(poll, limit=2)
            self.served.clock_ms += 2_000
        if self.change:
            self.resume_the_change()
        self.poll(poll, limit=2)

    @rule(viewer=accounts, which=any_index)
    def an_authors_route_changes(self, viewer, which):
        author = self.seen_by(viewer, which)
        for route in ("push", "pull"):
            self.pin(author, route)
            self.posts_move(viewer, which, 1)
        self.pin(author, None)
        self.lose("homefeed", viewer)
        self.assert_exact(viewer, 100)

    @rule(viewer=accounts, which=any_index)
    def a_celebrity_list_expires(self, viewer, which):
        author = self.seen_by(viewer, which)
        self.assert_exact(viewer, 100)
        self.post(author, 1, late=False, pause_ms=0)
        self.lose("celebrity-posts", author)
        self.assert_exact(viewer, 100)

    def seen_by(self, viewer, which):
        """Return an account whose posts the viewer sees; it may be the viewer itself."""
        seen = [account for account in ACCOUNTS if self.oracles[0].sees(viewer, account)]
        return seen[-1 - which % len(seen)]

    def followers(self, account):
        return sorted(
            follower for follower, followee in self.oracles[0].follows if followee == account
        )

    def lose(self, kind, account):
        self.served.worker.redis.delete(f"{kind}:{account}")
