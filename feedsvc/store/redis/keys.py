"""Every Redis key, spelled once. `docs/redis-keys.md` says the same in prose, and a test compares the two.

Keys that a viewer's read or a slice of a fan-out touches together are made from the same account, so that a later
cluster can give them one bucket.
"""

from __future__ import annotations

HOMEFEED_PREFIX = "homefeed:"

# Sorted set: authors with anything on their celebrity list -> the number of their latest put. One member marks its state.
CELEBRITIES = "celebrities"


def homefeed(account: int) -> str:
    """List: ids pushed to this account's home feed, newest push first; the last element is the marker."""
    return f"{HOMEFEED_PREFIX}{account}"


def celebrity_posts(author: int) -> str:
    """List, of the same form: ids of this author's posts that were not moved into the home feeds (yet)."""
    return f"celebrity-posts:{author}"


def relations(viewer: int) -> str:
    """String: whom the viewer follows and whom it must not see."""
    return f"relations:{viewer}"


def post(post_id: int) -> str:
    """String: the author and the JSON of one post, or the note that it is gone."""
    return f"post:{post_id}"


def fanout(post_id: int) -> str:
    """Hash: how far the fan-out of this post is: cursor, delivered, skipped, batches."""
    return f"fanout:{post_id}"
