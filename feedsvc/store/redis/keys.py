"""Every Redis key, spelled once. `docs/redis-keys.md` says the same in prose, and a test compares the two.

On a cluster, keys that one atomic step or one read touches together carry a hash tag, which gives them one slot.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# String: a message that asks for small fan-outs to be delivered is on its way.
SMALL_FANOUTS = "small-fanouts"

# Sorted set: authors with anything on their celebrity list -> the number of their latest put. One member marks its state.
CELEBRITIES = "celebrities"

# Sorted set: the latest puts onto any celebrity list, each with its number. One member tells the set from one that was lost.
RECENT = "recent-celebrity-posts"

# String: when a calibration began in this database, which is not the service's: all that is in it may be thrown away.
CALIBRATION = "calibration"

# Prime, so that ids which are multiples of a power of two spread, too; three nodes get 7, 8 and 8 of them.
CLUSTER_BUCKETS = 23
_SLOTS = 16_384


@dataclass(frozen=True)
class Keys:
    """The keys of accounts and fan-outs, spread over so many buckets by account id: one, and no hash tag, on a single node."""

    buckets: int = 1

    def bucket(self, account: int) -> int:
        """Where an account's feed is, and the progress of each fan-out that pushes into it."""
        return account % self.buckets

    def by_bucket(self, accounts: Sequence[str]) -> dict[int, Sequence[str]]:
        """These accounts, decimal strings, by bucket, in their order."""
        if self.buckets == 1:
            return {0: accounts}
        found: dict[int, list[str]] = {}
        for account in accounts:
            found.setdefault(self.bucket(int(account)), []).append(account)
        return {**found}

    def homefeed(self, account: int) -> str:
        """List: ids pushed to this account's home feed, newest push first; the last element is the marker."""
        return self.homefeed_prefix(self.bucket(account)) + str(account)

    def homefeed_prefix(self, bucket: int) -> str:
        """What the home feeds of a bucket begin with: an account's decimal id follows."""
        return f"homefeed:{self._tags[bucket]}"

    def relations(self, viewer: int) -> str:
        """String: whom the viewer follows and whom it must not see."""
        return f"relations:{self._tags[self.bucket(viewer)]}{viewer}"

    def fanout(self, post_id: int, bucket: int, lane: int) -> str:
        """Hash: how far a lane of the fan-out of this post is in this bucket: cursor, delivered, skipped, batches."""
        key = f"fanout:{self._tags[bucket]}{post_id}"
        return f"{key}:{lane}" if lane else key

    def reads(self, bucket: int, day: int) -> str:
        """Hash: a viewer of this bucket, if it is among those counted -> its reads on this day (days since 1970)."""
        return f"reads:{self._tags[bucket]}{day}"

    @cached_property
    def _tags(self) -> list[str]:
        """Each bucket's hash tag, with the colon behind it. They are evenly spaced over the slots, and so over the nodes."""
        if self.buckets == 1:
            return [""]
        bounds = [number * _SLOTS // self.buckets for number in range(self.buckets + 1)]
        return [f"{_tag(range(first, end).__contains__)}:" for first, end in pairwise(bounds)]


def celebrity_posts(author: int) -> str:
    """List, of the same form as a home feed: ids of this author's posts that were not moved into the home feeds (yet)."""
    return f"celebrity-posts:{author}"


def post(post_id: int) -> str:
    """String: the author and the JSON of one post, or the note that it is gone."""
    return f"post:{post_id}"


def console_code(digest: str) -> str:
    """String: whom the one-time code with this digest signs in to the console, and with what scopes."""
    return f"console-code:{digest}"


def figures_of(minute: int) -> str:
    """Hash: how many feed pages of this minute since 1970 took how long, the celebrity lists merged for them, processor time."""
    return f"figures:{minute}"


def run_id(owns: Callable[[int], bool] | None = None) -> str:
    """String: the run of the server under which everything else was written. A cluster's node has it in a slot that it `owns`."""
    return "run-id" if owns is None else f"run-id:{_tag(owns)}"


def _tag(wanted: Callable[[int], bool]) -> str:
    """The smallest decimal number, as a hash tag, whose slot is wanted."""
    return next(
        f"{{{number}}}"
        for number in count()
        if wanted(binascii.crc_hqx(str(number).encode(), 0) % _SLOTS)
    )
