"""Accounts with very many followers, and full feeds for the followers.

Both are made in bulk, in the state in which a long run would have left them.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import load
from benchmarks.http import request
from benchmarks.service import token, until
from feedsvc import post_ids
from feedsvc.fanout import status
from feedsvc.posts import publish
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.service import Bench, Pool

# The account that all follow, the account without followers, and the accounts that make a backlog.
AUTHOR, QUIET, BUSY = 7, 8, range(1_000, 1_500)
FIRST_FOLLOWER = 10**12
# The server's limit is measured on lists of its own, as many and as long as the feeds. Its pushes
# trim nothing, so they must not reach the feeds.
LIMIT_PREFIX = "limit:"
_CHUNK = 1_000
_PHOTO = "https://img.example/1.jpg"

# Lengths differ as they do after many trims: between the cap and a feed's own trim length. The
# marker at the end holds the floor, the highest id that was left out.
_FILL = """
local prefix, digits, posts = ARGV[1], ARGV[2], 5 + tonumber(ARGV[3])
local cap, spread = tonumber(ARGV[4]), tonumber(ARGV[5])
for at = 6, posts do
  local number = tonumber(ARGV[at])
  local key = prefix .. string.format('%0' .. digits .. '.0f', number)
  local length = cap + number * 7919 % spread
  redis.call('RPUSH', key, unpack(ARGV, posts + 1, posts + length))
  redis.call('RPUSH', key, 'f' .. ARGV[posts + 1 + length])
end
"""


@dataclass(frozen=True)
class LargeAccount:
    """A service with one large account, its web server, and readers among the followers.

    `reads`: first-page requests of the readers. `rate`: reads per second.
    """

    bench: Bench
    port: int
    web: Pool
    followers: int
    reads: list[str]
    rate: float

    def reading(self, seconds: float) -> load.Plan:
        """Plan open-loop reads of first pages at `rate`."""
        return load.Plan(self.port, self.reads, seconds, self.rate)


def followers(count: int) -> range:
    """Return the ids of the followers."""
    return range(FIRST_FOLLOWER, FIRST_FOLLOWER + count)


def old_posts(bench: Bench, author: int, count: int) -> list[int]:
    """Insert posts of a day ago, pushed long since; return their ids, newest first."""
    day_ago_ms = int(time.time() * 1000) - 86_400_000
    ids = [post_ids.make(day_ago_ms - number * 1_000, number) for number in range(count)]
    row = {
        "author_id": author,
        "photo_url": _PHOTO,
        "route": "push",
        "policy_version": 1,
        "pushed_at": now() - dt.timedelta(hours=1),
    }
    with bench.stores.sql.writing() as connection:
        connection.execute(
            sa.insert(Post),
            [{"id": post_id, "description": f"Photo {post_id}", **row} for post_id in ids],
        )
    return ids


def enough_posts(bench: Bench) -> int:
    """Return the number of posts that fill the longest feed, and one more for its floor."""
    limits = bench.stores.limits
    return limits.feed_cap + limits.feed_slack + 1


def fill(bench: Bench, accounts: Sequence[int], post_ids: list[int]) -> None:
    """Store a full home feed for each account; `post_ids`: `enough_posts`, newest first."""
    fill_lists(bench, bench.stores.keys.homefeed_prefix(0), 1, accounts, post_ids)


def fill_limit(bench: Bench, count: int, post_ids: list[int]) -> None:
    """Store `count` full lists for the measurement of the server's limit."""
    fill_lists(bench, LIMIT_PREFIX, 12, range(count), post_ids)


def fill_lists(
    bench: Bench, prefix: str, digits: int, numbers: Sequence[int], post_ids: list[int]
) -> None:
    """Store full lists named `prefix` + number, zero-padded to `digits`."""
    limits = bench.stores.limits
    script = bench.stores.redis.register_script(_FILL)
    spread = length_spread(bench)
    sizes, ids = (limits.feed_cap, spread), post_ids[: limits.feed_cap + spread + 1]
    for first in tqdm(
        range(0, len(numbers), _CHUNK),
        desc=f"fill {prefix}",
        unit=" thousand",
        leave=False,
        disable=None,
    ):
        chunk = numbers[first : first + _CHUNK]
        script(args=[prefix, digits, len(chunk), *sizes, *chunk, *ids])


def length_spread(bench: Bench) -> int:
    """Return the range of the lengths of full feeds above the cap."""
    return max(1, 3 * bench.stores.limits.feed_slack // 4)


def upload(bench: Bench, author: int = AUTHOR) -> int:
    """Publish a post in this process; return its id."""
    return publish.publish(
        bench.stores, bench.services.enqueue, author, photo_url=_PHOTO, description=""
    ).post_id


def upload_request(author: int) -> bytes:
    """Return the HTTP request of an upload."""
    return request(
        "POST", "/v1/posts", token(author), {"photo_url": _PHOTO, "description": "A photo"}
    )


def unfinished(bench: Bench) -> int:
    """Count the fan-outs that are not done."""
    count = sa.select(sa.func.count()).select_from(Fanout).where(Fanout.state != "done")
    with bench.stores.sql.reading() as connection:
        return connection.scalar(count) or 0


def deliver(bench: Bench, expected: int | None = None, author: int = AUTHOR) -> float:
    """Upload a post and wait for its fan-out; return the seconds from before the upload to `done`.

    At `done` the last follower has the post, and SQL says so. `expected`: the number of feeds that
    the fan-out must have reached.
    """
    started = now()
    post_id = upload(bench, author)
    done = until(lambda: (found := status.status(bench.stores, post_id)).state == "done" and found)
    if expected is not None:
        assert (done.delivered, done.skipped) == (expected, 0), done
    return (done.finished_at - started).total_seconds()
