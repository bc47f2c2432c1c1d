"""An account with very many followers, and their feeds, full of posts that exist: made in bulk, as a long run would leave them."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks.http import request
from benchmarks.service import token, until
from feedsvc import post_ids
from feedsvc.fanout import status
from feedsvc.posts import publish
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.service import Bench

# Who is followed by everybody, who by nobody, and who make a backlog.
AUTHOR, QUIET, BUSY = 7, 8, range(1_000, 1_500)
FIRST_FOLLOWER = 10**12
# The limit is taken on lists of its own, as many and as long: it does not trim, and its pushes are not for us to trim.
LIMIT_PREFIX = "limit:"
_CHUNK = 1_000
_PHOTO = "https://img.example/1.jpg"

# Lengths differ as they do after many trims: between the cap and a feed's own trim length. The floor is the highest id left out.
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


def followers(count: int) -> range:
    """The followers' ids."""
    return range(FIRST_FOLLOWER, FIRST_FOLLOWER + count)


def old_posts(bench: Bench, author: int, count: int) -> list[int]:
    """Posts that every follower's feed has had for long: their ids, newest first."""
    day_ago_ms = int(time.time() * 1000) - 86_400_000
    made = [post_ids.make(day_ago_ms - number * 1_000, number) for number in range(count)]
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
            [{"id": post_id, "description": f"Photo {post_id}", **row} for post_id in made],
        )
    return made


def fill(bench: Bench, accounts: Sequence[int], post_ids: list[int]) -> None:
    """Full feeds for these accounts, of these posts, newest first: at least cap + slack of them, and one for the floor."""
    fill_lists(bench, bench.stores.keys.homefeed_prefix(0), 1, accounts, post_ids)


def fill_limit(bench: Bench, count: int, post_ids: list[int]) -> None:
    """As many lists for the limit."""
    fill_lists(bench, LIMIT_PREFIX, 12, range(count), post_ids)


def fill_lists(
    bench: Bench, prefix: str, digits: int, numbers: Sequence[int], post_ids: list[int]
) -> None:
    """Full lists named `prefix` + number, padded to so many digits."""
    limits = bench.stores.limits
    script = bench.stores.redis.register_script(_FILL)
    spread = max(1, 3 * limits.feed_slack // 4)
    for first in tqdm(
        range(0, len(numbers), _CHUNK),
        desc=f"fill {prefix}",
        unit=" thousand",
        leave=False,
        disable=None,
    ):
        chunk = numbers[first : first + _CHUNK]
        script(
            args=[
                prefix,
                digits,
                len(chunk),
                limits.feed_cap,
                spread,
                *chunk,
                *post_ids[: limits.feed_cap + spread + 1],
            ]
        )


def enough_posts(bench: Bench) -> int:
    """How many posts fill the longest feed."""
    limits = bench.stores.limits
    return limits.feed_cap + limits.feed_slack + 1


def upload(bench: Bench, author: int = AUTHOR) -> int:
    """A post's id."""
    return publish.publish(
        bench.stores, bench.services.enqueue, author, photo_url=_PHOTO, description=""
    ).post_id


def upload_request(author: int) -> bytes:
    """An upload of this account, as it is sent over HTTP."""
    return request(
        "POST", "/v1/posts", token(author), {"photo_url": _PHOTO, "description": "A photo"}
    )


def undone(bench: Bench) -> int:
    """How many fan-outs are not done."""
    with bench.stores.sql.reading() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count()).select_from(Fanout).where(Fanout.state != "done")
            )
            or 0
        )


def deliver(bench: Bench, expected: int | None = None, author: int = AUTHOR) -> float:
    """Seconds from before the upload until its fan-out is done: the last follower has the post, and SQL says so."""
    started = now()
    post_id = upload(bench, author)
    done = until(lambda: (found := status.status(bench.stores, post_id)).state == "done" and found)
    if expected is not None:
        assert (done.delivered, done.skipped) == (expected, 0), done
    return (done.finished_at - started).total_seconds()
