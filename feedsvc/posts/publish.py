"""Publish a post.

One transaction stores the post, its fan-out and its outbox row. After the commit the post is put on
its author's celebrity list, and the first link of the fan-out is enqueued. The answer never waits
for the fan-out, because every follower's next read finds the post on the celebrity list.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from feedsvc import outbox, post_ids
from feedsvc.cache import post_bodies
from feedsvc.cache.post_bodies import PostRow
from feedsvc.errors import NotFound, StoreUnavailable
from feedsvc.fanout.chain import STALLED_AFTER
from feedsvc.graph import accounts
from feedsvc.outbox import PostPublished, PostRepeated
from feedsvc.posts import idempotency
from feedsvc.routing import next_route
from feedsvc.store.redis.delivery import START
from feedsvc.store.sql import highest_id
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Account, Fanout, Post

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.outbox import Transaction
    from feedsvc.routing.policy import Decision
    from feedsvc.store import Stores

_log = structlog.get_logger()

_LOCK_AUTHOR = (
    sa.select(Account.follower_count, Account.last_route)
    .where(Account.id == sa.bindparam("author"), ~Account.deleting)
    .with_for_update(key_share=True)
)
_INSERT_PUSHED = sa.insert(Fanout).values(state="pending", next_look_at=db_time(STALLED_AFTER))
_INSERT_PULLED = sa.insert(Fanout).values(state="done", finished_at=db_time())


@dataclass(frozen=True)
class Published:
    """The answer to an upload.

    `replayed` is True if the answer belongs to an earlier upload with the same idempotency key.
    """

    post_id: int
    body: bytes
    replayed: bool


def publish(
    stores: Stores,
    enqueue: Enqueue,
    author: int,
    *,
    photo_url: str,
    description: str,
    idempotency_key: str | None = None,
) -> Published:
    """Upload a post.

    When this returns, the post is committed, and visible in every follower's feed through the
    celebrity list.

    Raises `NotFound` for an unknown author, and for a repeated upload whose post was deleted
    meanwhile. Raises `StoreUnavailable` if a store is down. Raises `Conflict` while another upload
    with the key is running, or while the author is being deleted. Raises `Invalid` if the key was
    used with another body.
    """
    began, draft = time.thread_time(), PostRow(0, author, photo_url, description)
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        if idempotency_key is not None:
            digest = idempotency.digest(photo_url, description)
            first = idempotency.claim(stores, connection, author, idempotency_key, digest)
            if first is not None:
                return _replay(transaction, draft._replace(id=first))
        account = _lock_author(connection, author)
        decide = next_route.decider(stores, connection, [author])
        decision = decide(author, account.follower_count, account.last_route)
        post = _insert_post(stores, transaction, draft, decision)
        _insert_fanout(connection, post, account, decision)
        body = post_bodies.serialise(post)
        if idempotency_key is not None:
            idempotency.store(connection, author, idempotency_key, digest, post_id=post.id)
        transaction.add(PostPublished(author, post.id))
    stores.usage.note_work("upload", time.thread_time() - began)
    if decision.route == "push":
        with stores.usage.timed("enqueue"):
            _enqueue_first(enqueue, post.id, account.follower_count)
    _log.info(
        "post.published",
        post_id=post.id,
        author_id=author,
        route=decision.route,
        policy_version=decision.policy_version,
    )
    return Published(post.id, body, replayed=False)


def _lock_author(connection: Connection, author: int) -> Row[int, str | None]:
    """Lock the author's row until the commit. Return its follower count and its last route.

    A deletion of the account waits for the lock, and then also deletes the post. The lock gives the
    transaction its number. The watermark relies on a number that is taken before the id is drawn
    (store/watermark.py).
    """
    account = connection.execute(_LOCK_AUTHOR, {"author": author}).first()
    if account is None:
        accounts.refuse_deleting(connection, [author])
        raise NotFound("account", author)
    return account


def _replay(transaction: Transaction, post: PostRow) -> Published:
    """Return the answer of the first upload, and put its post on the list again.

    Raises `Conflict` while the author is being deleted, and `NotFound` for a deleted post.
    """
    accounts.refuse_deleting(transaction.connection, [post.author_id])
    undeleted = sa.select(Post.id).where(Post.id == post.id, Post.deleted_at.is_(None))
    if transaction.connection.scalar(undeleted) is None:
        raise NotFound("post", post.id)
    transaction.add(PostRepeated(post.author_id, post.id))
    return Published(post.id, post_bodies.serialise(post), replayed=True)


def _insert_post(
    stores: Stores, transaction: Transaction, post: PostRow, decision: Decision
) -> PostRow:
    """Draw ids until one is free, insert the post under it, and return the post."""
    route = {"route": decision.route, "policy_version": decision.policy_version}
    while True:
        clock_ms, committed = highest_id.clock_and_highest(transaction.connection)
        highest = max(committed, transaction.highest_post_id, stores.watermark.value or 0)
        post = post._replace(id=post_ids.draw(clock_ms, highest))
        if stores.sql.insert_if_absent(transaction.connection, Post, {**post._asdict(), **route}):
            return post


def _insert_fanout(
    connection: Connection, post: PostRow, account: Row[int, str | None], decision: Decision
) -> None:
    """Insert the fan-out, and remember the route unless load shedding chose it."""
    insert = _INSERT_PUSHED if decision.route == "push" else _INSERT_PULLED
    fanout = {
        "post_id": post.id,
        "author_id": post.author_id,
        "followers": account.follower_count,
    }
    connection.execute(insert, fanout)
    if decision.route != account.last_route and not decision.for_now:
        remember = sa.update(Account).where(Account.id == post.author_id)
        connection.execute(remember.values(last_route=decision.route))


def _enqueue_first(enqueue: Enqueue, post_id: int, followers: int) -> None:
    """Enqueue the first link.

    If the broker is away or refuses, logs a warning and returns. The sweep sends the link later.
    """
    try:
        enqueue(post_id, 0, START, followers)
    except StoreUnavailable as error:
        _log.warning("fanout.not_enqueued", post_id=post_id, store=error.store, cause=error.cause)
