"""Rules of the state machine for what single random steps bring about too rarely: posts that have moved, and what falls into the middle.

Without them it found five of the errors of tests/planted.py.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

ACCOUNTS = [2**62 + number for number in range(8)]  # they tie as doubles

accounts = st.sampled_from(ACCOUNTS)
pairs = st.permutations(ACCOUNTS).map(lambda order: (order[0], order[1]))
any_of = st.integers(0, 2**16)
step_numbers = st.integers(0, 8) | st.integers(0, 25)  # a change has few steps, a sweep many
relations = st.sampled_from(
    ["follow"] * 4 + ["unfollow", "unfollow", "mute", "block", "unmute", "unblock"]
)

can_hold = precondition(lambda self: self.change is None and len(self.holds) < 3)


class Moments(RuleBasedStateMachine):
    """Built of the rules of tests/machine.py; each ends with a look at who is concerned."""

    @rule(viewer=accounts, which=any_of, count=st.integers(1, 5))
    def posts_move(self, viewer, which, count):
        """They are in the home feeds and nowhere else, if they are not pulled."""
        self.post(self.seen_by(viewer, which), count, late=False, pause_ms=0)
        self.drain()
        self.sweep()

    @rule(viewer=accounts, which=any_of, count=st.integers(1, 14), after=step_numbers)
    @can_hold
    def posts_move_while_a_feed_is_rebuilt(self, viewer, which, count, after):
        self.lose("homefeed", viewer)
        self.hold_a_read(viewer, after)
        self.posts_move(viewer, which, count)
        self.let_go(len(self.holds) - 1)
        self.is_exact(viewer, 100)

    @rule(kind=relations, pair=pairs, after=step_numbers)
    @can_hold
    def a_relation_changes_while_it_is_read(self, kind, pair, after):
        self.lose("relations", pair[0])
        self.hold_a_read(pair[0], after)
        self.relate(kind, pair)
        self.let_go(len(self.holds) - 1)
        self.is_exact(pair[0], 100)

    @rule(viewer=accounts, which=any_of, after=step_numbers)
    @can_hold
    def an_upload_falls_into_a_sweep(self, viewer, which, after):
        author = self.seen_by(viewer, which)
        self.post(author, 1, late=False, pause_ms=0)
        self.drain()
        self.hold_a_sweep(after)
        self.post(author, 1, late=False, pause_ms=0)
        self.let_go(len(self.holds) - 1)
        self.is_exact(viewer, 100)

    @rule(which=any_of)
    @precondition(lambda self: self.change is None)
    def a_follower_leaves_between_two_links(self, which):
        author = max(ACCOUNTS, key=lambda account: len(self.followers(account)))
        followers = self.followers(author)
        for follower in followers:
            self.is_exact(follower, 100)
        self.post(author, 1, late=False, pause_ms=0)
        if self.served.queue:
            self.run_link(len(self.served.queue) - 1, "once")
        if followers:
            self.relate("unfollow", (followers[which % min(3, len(followers))], author))
        self.drain()
        self.sweep()
        for follower in followers:
            self.is_exact(follower, 100)

    @rule(viewer=accounts, which=any_of)
    def an_authors_route_changes(self, viewer, which):
        author = self.seen_by(viewer, which)
        for route in ("push", "pull"):
            self.pin(author, route)
            self.posts_move(viewer, which, 1)
        self.pin(author, None)
        self.lose("homefeed", viewer)
        self.is_exact(viewer, 100)

    @rule(viewer=accounts, which=any_of)
    def a_celebrity_list_expires(self, viewer, which):
        author = self.seen_by(viewer, which)
        self.is_exact(viewer, 100)
        self.post(author, 1, late=False, pause_ms=0)
        self.lose("celebrity-posts", author)
        self.is_exact(viewer, 100)

    def seen_by(self, viewer, which):
        """Somebody whose posts the viewer sees, perhaps itself."""
        seen = [account for account in ACCOUNTS if self.oracles[0].sees(viewer, account)]
        return seen[-1 - which % len(seen)]

    def followers(self, account):
        return sorted(
            follower for follower, followee in self.oracles[0].follows if followee == account
        )

    def lose(self, kind, account):
        self.served.worker.redis.delete(f"{kind}:{account}")
