"""Compute F(v) of the contract naively, from operations alone. Imports nothing of the service."""

from __future__ import annotations


class Oracle:
    """The state after operations, each the name of a method below and its arguments."""

    def __init__(self, operations=()):
        self.posts, self.follows, self.mutes, self.blocks = {}, set(), set(), set()
        for name, *arguments in operations:
            getattr(self, name)(*arguments)

    def post(self, author, post_id):
        self.posts[post_id] = author

    def delete(self, post_id):
        self.posts.pop(post_id, None)

    def follow(self, follower, followee):
        self.follows.add((follower, followee))

    def unfollow(self, follower, followee):
        self.follows.discard((follower, followee))

    def mute(self, account, other):
        self.mutes.add((account, other))

    def unmute(self, account, other):
        self.mutes.discard((account, other))

    def block(self, account, other):
        self.blocks.add((account, other))
        self.follows -= {(account, other), (other, account)}

    def unblock(self, account, other):
        self.blocks.discard((account, other))

    def sees(self, viewer, author):
        followed = viewer == author or (viewer, author) in self.follows
        hidden = (viewer, author) in self.mutes | self.blocks or (author, viewer) in self.blocks
        return followed and not hidden

    def feed(self, viewer):
        return sorted(
            (post_id for post_id, author in self.posts.items() if self.sees(viewer, author)),
            reverse=True,
        )
