"""Every Redis key, spelled once, with its type, order, writer, bound and expiry.

docs/redis-keys.md explains the same keys in prose, and a test compares the two. On a cluster, keys
that one atomic step or one read touches together have the same hash tag, so they share a slot.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# String: the request flag of micro-batches. While it is set, a message for the next micro-batch is
# in the queue, so an upload sends no other. Written by an upload of a small account, deleted when
# the micro-batch begins. Expires after 2 s, in case the message was lost.
SMALL_FANOUTS = "small-fanouts"

# Sorted set: authors with a post on their celebrity list, by the number of their latest put; then
# `puts` with the latest number, and a marker. Written by an upload, after the list, by a take-off,
# by the audit's repair, and by a reader that found the set absent or a list empty. Bound: accounts
# that are pulled or have a fan-out under way. Never expires.
CELEBRITIES = "celebrities"

# Sorted set: the invalidation log, `number:author:post` by number; then `puts` with the number of
# the latest entry of any kind, and a marker. Written by an upload and by the audit's repair, after
# `celebrities`, by an edit or a deletion, after the post's bytes were dropped, by the beginning and
# the end of an account's deletion, and by a reader that found it absent. Bound: 1,000 entries.
# Never expires.
INVALIDATION_LOG = "recent-celebrity-posts"

# Hash: `highest`, the highest id of a post that was put on a list, and `watermark`, the highest
# watermark of any process. Written by an upload, by the sweep of its outbox row, and by a process
# that looks for a higher watermark. Bound: two fields. Never expires.
POST_IDS = "post-ids"

# String: `1`. The time until it expires shows when the latest sweep ended. Written by each sweep.
# Expires an hour after it.
LAST_SWEEP = "last-sweep"

# String: the sign of life. A server that refuses writes refuses it too. Written before each
# transaction. A cluster has one on each primary. Expires after 10 s.
SIGN_OF_LIFE = "sign-of-life"

# The beginnings of all keys of the service, without the run id and keys of other databases. On a
# server that forbids FLUSHDB the keys are deleted one by one.
BEGINNINGS = (
    SMALL_FANOUTS,
    CELEBRITIES,
    INVALIDATION_LOG,
    POST_IDS,
    LAST_SWEEP,
    SIGN_OF_LIFE,
    "homefeed:",
    "relations:",
    "fanout:",
    "reads:",
    "celebrity-posts:",
    "post:",
    "console:",
    "figures:",
    "readers:",
    "workers:",
)

Role = Literal["readers", "workers"]

# The number of buckets is prime, so that account ids that share a factor 2 also spread. Of the 23
# buckets, three nodes get 7, 8 and 8.
CLUSTER_BUCKETS = 23
_SLOTS = 16_384


@dataclass(frozen=True)
class Keys:
    """The keys of accounts and fan-outs, spread over buckets by account id.

    A single node has one bucket and no hash tags.
    """

    buckets: int = 1

    def bucket(self, account: int) -> int:
        """Return the bucket of an account's feed, and of the progress of pushes into it."""
        return account % self.buckets

    def by_bucket(self, accounts: Sequence[str]) -> dict[int, Sequence[str]]:
        """Group accounts, given as decimal strings, by bucket; each group keeps their order."""
        if self.buckets == 1:
            return {0: accounts}
        found: dict[int, list[str]] = {}
        for account in accounts:
            found.setdefault(self.bucket(int(account)), []).append(account)
        return {**found}

    def homefeed(self, account: int) -> str:
        """List: ids that were pushed to an account's home feed, latest push first; then its marker.

        Written by slices of fan-outs, by a rebuild, and by a reader that stores a tail hint.
        Deleted by a follow. Bound: the cap and the slack. Expires a feed TTL after its last read.
        """
        return self.homefeed_prefix(self.bucket(account)) + str(account)

    def homefeed_prefix(self, bucket: int) -> str:
        """Return the first part of the keys of home lists in a bucket; the account's id follows."""
        return f"homefeed:{self._tags[bucket]}"

    def relations(self, viewer: int) -> str:
        """String: the accounts whose posts the viewer sees, 64 bits each, in no order.

        Written by a reader that found none, deleted by each change of a follow, mute or block.
        Bound: 8 bytes for each account. Expires a feed TTL after it was made.
        """
        return f"relations:{self._tags[self.bucket(viewer)]}{viewer}"

    def fanout(self, post_id: int, bucket: int, lane: int) -> str:
        """Hash: how far a lane of a fan-out is in a bucket: cursor, delivered, skipped, batches.

        Written by each slice, in the step that pushes. One for each lane and bucket. Expires a day
        after its last slice.
        """
        key = f"fanout:{self._tags[bucket]}{post_id}"
        return f"{key}:{lane}" if lane else key

    def reads(self, bucket: int, day: int) -> str:
        """Hash: viewer -> its reads on a day (days since 1970), for the viewers in the sample.

        Written by reads. Bound: a sixteenth of the viewers of a day. Expires 8 days after its first
        read.
        """
        return f"reads:{self._tags[bucket]}{day}"

    @cached_property
    def _tags(self) -> list[str]:
        """The hash tag of each bucket with a colon. Tags are evenly spaced over slots and nodes."""
        if self.buckets == 1:
            return [""]
        bounds = [number * _SLOTS // self.buckets for number in range(self.buckets + 1)]
        return [f"{_tag(range(first, end).__contains__)}:" for first, end in pairwise(bounds)]


def celebrity_posts(author: int) -> str:
    """List in the form of a home list: ids of an author's posts that are not in all home lists.

    Written by an upload, by a take-off, by the audit's repair, and by a reader that found none.
    Bound: the cap and the slack. Expires a feed TTL after its last put or rebuild.
    """
    return f"celebrity-posts:{author}"


def post(post_id: int) -> str:
    """String: the author and the JSON of one post, or the note that the post is deleted.

    An id that never was a post leaves nothing. Written by a reader that found none, deleted by
    upload, edit and deletion. Expires after 7 days.
    """
    return f"post:{post_id}"


def console(account: int) -> str:
    """Hash: the sessions of an account in the console, and its one-time links, by their digests.

    A value has scopes and an expiry. The value of a session also has its form secret and its
    encrypted token. Written by a sign-in and by `feedsvc console`. A sign-out, or the use of a
    link, deletes its field. `feedsvc console --revoke` and the account's deletion delete the key.
    Bound: sign-ins and links of an hour. Expires an hour after the latest.
    """
    return f"console:{account}"


def usage_of(minute: int) -> str:
    """Hash: the durations of feed pages, merged celebrity lists, and processor time of a minute.

    Processor time is counted in all, and by kind and size of work. Minutes count since 1970.
    Written by each process once a second. Bound: about 200 fields. Expires after 26 hours.
    """
    return f"figures:{minute}"


def processes_of(role: Role, period: int) -> str:
    """Set: random names of the processes that read feeds, or of those that fan out.

    Periods of ten minutes count since 1970. Written by each process once a second while it reads or
    fans out. Bound: the processes. Expires after 20 minutes.
    """
    return f"{role}:{period}"


def run_id(owns: Callable[[int], bool] | None = None) -> str:
    """String: the run of the server under which all other keys were written.

    Written by each new connection. A node of a cluster has it in a slot that it `owns`. Never
    expires.
    """
    if owns is None:
        return "run-id"
    return next(key for slot, key in keys_over_slots("run-id") if owns(slot))


def keys_over_slots(name: str) -> Iterator[tuple[int, str]]:
    """Yield each key of this name with its slot, without end. The hash tags are 0, 1, 2 …."""
    for number in count():
        yield _slot(str(number)), f"{name}:{{{number}}}"


def _tag(is_wanted: Callable[[int], bool]) -> str:
    """Return the smallest decimal number, as a hash tag, whose slot is wanted."""
    return next(f"{{{number}}}" for number in count() if is_wanted(_slot(str(number))))


def _slot(tag: str) -> int:
    return binascii.crc_hqx(tag.encode(), 0) % _SLOTS
