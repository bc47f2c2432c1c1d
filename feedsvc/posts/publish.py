"""An upload: the post and its fan-out committed together, put on its author's celebrity list, the first link enqueued.

The answer never waits for the fan-out: the post is in every follower's feed through the celebrity list already.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from feedsvc import outbox, post_ids
from feedsvc.cache import post_bodies
from feedsvc.errors import NotFound, StoreUnavailable
from feedsvc.fanout.chain import STALLED_AFTER
from feedsvc.graph.accounts import insert_if_absent
from feedsvc.outbox import PostPublished, PostRepeated
from feedsvc.posts import idempotency
from feedsvc.routing import next_route
from feedsvc.store.redis.delivery import START
from feedsvc.store.sql.database import clock_ms, now
from feedsvc.store.sql.tables import Account, Fanout, Post

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.outbox import Transaction
    from feedsvc.routing.policy import Decision
    from feedsvc.store import Stores

_log = structlog.get_logger()

_AUTHOR = (
    sa.select(Account.follower_count, Account.last_route)
    .where(Account.id == sa.bindparam("author"), ~Account.deleting)
    .with_for_update(key_share=True)
)
_FANOUT = sa.insert(Fanout)
_POST = sa.select(*post_bodies.COLUMNS).where(Post.id == sa.bindparam("post"))


@dataclass(frozen=True)
class Published:
    """The answer to an upload; `replayed` if it is the answer that an earlier one with the same key got."""

    post_id: int
    body: bytes
    replayed: bool


@dataclass(frozen=True)
class _Upload:
    author: int
    photo_url: str
    description: str


def publish(
    stores: Stores,
    enqueue: Enqueue,
    author: int,
    *,
    photo_url: str,
    description: str,
    idempotency_key: str | None = None,
) -> Published:
    """Upload a post; when this returns, it is durable and in every follower's feed.

    Raises `NotFound` for an unknown author, `Conflict` and `Invalid` for a key in use by a running or a different upload, and
    `StoreUnavailable`.
    """
    upload = _Upload(author, photo_url, description)
    digest = idempotency.digest(photo_url, description)
    with outbox.transaction(stores) as transaction:
        if idempotency_key is not None:
            first = idempotency.claim(
                stores, transaction.connection, author, idempotency_key, digest
            )
            if first is not None:
                transaction.add(PostRepeated(author, first.post_id))
                return Published(first.post_id, first.answer.encode(), replayed=True)
        account = _account(transaction.connection, author)
        decision = next_route.decider(stores, transaction.connection, [author])(
            author, account.follower_count, account.last_route
        )
        post_id = _insert(stores, transaction, upload, account, decision)
        body = _serialised(transaction.connection, post_id)
        if idempotency_key is not None:
            idempotency.keep(
                transaction.connection,
                author,
                idempotency_key,
                digest,
                post_id=post_id,
                answer=body,
            )
    if decision.route == "push":
        _start(enqueue, post_id, account.follower_count)
    _log.info(
        "post.published",
        post_id=post_id,
        author_id=author,
        route=decision.route,
        policy_version=decision.policy_version,
    )
    return Published(post_id, body, replayed=False)


def _account(connection: Connection, author: int) -> Row[int, str | None]:
    """The author, held until the transaction ends: a deletion of the account waits, and takes this post with it."""
    row = connection.execute(_AUTHOR, {"author": author}).first()
    if row is None:
        raise NotFound("account", author)
    return row


def _insert(
    stores: Stores,
    transaction: Transaction,
    upload: _Upload,
    account: Row[int, str | None],
    decision: Decision,
) -> int:
    connection = transaction.connection
    drawn_at = time.monotonic()
    post_id = _insert_post(stores, connection, upload, decision)
    pushed = decision.route == "push"
    fanout = {
        "post_id": post_id,
        "author_id": upload.author,
        "state": "pending" if pushed else "done",
        "followers": account.follower_count,
        "next_look_at": now() + STALLED_AFTER if pushed else None,
        "finished_at": None if pushed else now(),
    }
    connection.execute(_FANOUT, fanout)
    if decision.route != account.last_route and not decision.for_now:
        connection.execute(
            sa.update(Account).where(Account.id == upload.author).values(last_route=decision.route)
        )
    transaction.add(PostPublished(upload.author, post_id))
    if time.monotonic() - drawn_at > post_ids.GIVE_UP_SECONDS:
        raise StoreUnavailable("database")
    return post_id


def _insert_post(
    stores: Stores, connection: Connection, upload: _Upload, decision: Decision
) -> int:
    """Insert under the first drawn id that nobody has taken."""
    while True:
        post_id = post_ids.draw(clock_ms(stores.sql, connection))
        row = {
            "id": post_id,
            "author_id": upload.author,
            "photo_url": upload.photo_url,
            "description": upload.description,
            "route": decision.route,
            "policy_version": decision.policy_version,
        }
        if insert_if_absent(stores, connection, Post, row):
            return post_id


def _serialised(connection: Connection, post_id: int) -> bytes:
    return post_bodies.serialise(connection.execute(_POST, {"post": post_id}).one())


def _start(enqueue: Enqueue, post_id: int, followers: int) -> None:
    """Send the first link. A broker that is down costs time, never a post: the sweep sends it later."""
    try:
        enqueue(post_id, 0, START, followers)
    except Exception as error:  # noqa: BLE001 -- every broker client has errors of its own
        _log.warning("fanout.not_enqueued", post_id=post_id, error=repr(error))
