"""The demo: a graph of a few thousand accounts with celebrities among them, posts from all sorts, and what to try next."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import jwt
import sqlalchemy as sa

from feedsvc.graph import generate
from feedsvc.posts import publish
from feedsvc.store.sql.tables import Account, Follow, Post
from feedsvc.threshold import policies

if TYPE_CHECKING:
    from feedsvc.services import Services

_ACCOUNTS = 3_000
_PROMOTE_AT = 100
_DEMOTE_AT = 80
_POSTS = 60
_SEED = 2013
_TTL_SECONDS = 86_400


def load_demo(services: Services, url: str) -> list[str]:
    """Load the demo, if the database is empty, and return the lines to print."""
    with services.stores.sql.reading() as connection:
        is_empty = connection.scalar(sa.select(Account.id).limit(1)) is None
    if is_empty:
        generate.load(services.stores, _ACCOUNTS, _SEED)
        policies.change(
            services.stores,
            promote_at=_PROMOTE_AT,
            demote_at=_DEMOTE_AT,
            rollout_percent=100,
            reason="the demo's accounts are small",
            changed_by="demo",
            if_match=None,
        )
    with services.stores.sql.reading() as connection:
        if connection.scalar(sa.select(Post.id).limit(1)) is None:
            _post(services)
    return _lines(services, url)


def _post(services: Services) -> None:
    """The largest accounts post, and some of the others."""
    with services.stores.sql.reading() as connection:
        largest = list(connection.scalars(sa.select(Account.id).order_by(Account.follower_count.desc()).limit(_POSTS // 3)))
    others = random.Random(_SEED).choices(range(1, _ACCOUNTS + 1), k=_POSTS - len(largest))  # noqa: S311 -- a demo
    for number, author in enumerate([*others, *largest]):
        photo_url, description = f"https://img.example/{number}.jpg", f"Photo {number} of account {author}"
        publish.publish(services.stores, services.enqueue, author, photo_url=photo_url, description=description)


def _lines(services: Services, url: str) -> list[str]:
    with services.stores.sql.reading() as connection:
        celebrity = connection.execute(sa.select(Account.id, Account.follower_count).order_by(Account.follower_count.desc()).limit(1)).one()
        follows = sa.select(Follow.follower_id).where(Follow.followee_id == celebrity.id)
        viewer = connection.scalar(sa.select(Account.id).where(Account.id.in_(follows)).order_by(Account.following_count.desc()).limit(1))
    as_json = "-H 'Content-Type: application/json'"
    post = '{"photo_url": "https://img.example/new.jpg", "description": "Hello"}'
    return [
        "",
        f"Account {celebrity.id} is a celebrity with {celebrity.follower_count} followers; account {viewer} follows it and others.",
        "",
        "Read the feed of that follower:",
        f"  curl -s '{url}/v1/feed?limit=5' -H 'Authorization: Bearer {_token(services, viewer)}'",
        "",
        "Post as the celebrity, and read again: it is there at once.",
        f"  curl -s {url}/v1/posts -H 'Authorization: Bearer {_token(services, celebrity.id)}' {as_json} -d '{post}'",
        "",
        f"Try every call in a browser: {url}/docs",
        "Ctrl-C stops the service; its data stays in .feedsvc until you delete it.",
    ]


def _token(services: Services, account: int | None) -> str:
    return jwt.encode({"sub": str(account), "scope": "feed", "exp": int(time.time()) + _TTL_SECONDS}, services.jwt_secret, "HS256")
