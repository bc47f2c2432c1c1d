"""The demo: a graph of a few thousand accounts with celebrities, posts, and commands to try."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.api.auth import sign
from feedsvc.console.session import one_time_link
from feedsvc.feed import reader
from feedsvc.graph import generate
from feedsvc.paging import DEFAULT_LIMIT
from feedsvc.planning import change
from feedsvc.planning.survey import survey
from feedsvc.posts import publish
from feedsvc.routing import versions
from feedsvc.services import own_secret
from feedsvc.store.sql.tables import Account, Follow, Post

if TYPE_CHECKING:
    from feedsvc.services import Services

_ACCOUNTS = 3_000
_PROMOTE_AT = 100
_DEMOTE_AT = 80
_POSTS = 150
_READERS = 300
_SEED = 2013
_TTL_SECONDS = 86_400


def load_demo(services: Services, url: str) -> list[str]:
    """Load the demo into an empty database, and return the lines to print."""
    with services.stores.sql.reading() as connection:
        has_accounts = connection.scalar(sa.select(Account.id).limit(1)) is not None
        has_posts = connection.scalar(sa.select(Post.id).limit(1)) is not None
    if not has_accounts:
        generate.load(services.stores, _ACCOUNTS, _SEED)
        survey.refresh(services.stores)
        change.change(
            services.stores,
            promote_at=_PROMOTE_AT,
            demote_at=_DEMOTE_AT,
            rollout_percent=100,
            reason="the demo's accounts are small",
            changed_by="demo",
            if_match=None,
        )
    if not has_posts:
        _read_and_post(services)
        survey.refresh(services.stores)
    return _lines(services, url)


def _read_and_post(services: Services) -> None:
    """Read the feeds of the busiest followers, then upload posts of large and small accounts.

    A feed that was read once exists in Redis and takes pushes. The authors are the largest
    accounts, and others drawn in proportion to their followers.
    """
    with services.stores.sql.reading() as connection:
        readers = connection.scalars(
            sa.select(Account.id).order_by(Account.following_count.desc()).limit(_READERS)
        ).all()
        followers = connection.execute(
            sa.select(Account.id, Account.follower_count).order_by(Account.follower_count.desc())
        ).all()
    for viewer in readers:
        reader.home_page(services.stores, viewer, None, DEFAULT_LIMIT)
    ids, weights = [row.id for row in followers], [row.follower_count + 1 for row in followers]
    others = random.Random(_SEED).choices(ids, weights, k=_POSTS * 2 // 3)  # noqa: S311 -- a demo
    for number, author in enumerate([*others, *ids[: _POSTS // 3]]):
        publish.publish(
            services.stores,
            services.enqueue,
            author,
            photo_url=f"https://img.example/{number}.jpg",
            description=f"Photo {number} of account {author}",
        )


def _lines(services: Services, url: str) -> list[str]:
    return [
        *_feed_lines(services, url),
        *_console_lines(services, services.settings.public_url or url),
        f"Try every call in a browser: {url}/docs",
        f"Ctrl-C stops the service. Its data stays in {services.settings.data_dir}.",
    ]


def _feed_lines(services: Services, url: str) -> list[str]:
    with services.stores.sql.reading() as connection:
        celebrity = connection.execute(
            sa.select(Account.id, Account.follower_count)
            .order_by(Account.follower_count.desc())
            .limit(1)
        ).one()
        follows = sa.select(Follow.follower_id).where(Follow.followee_id == celebrity.id)
        viewer = connection.scalar(
            sa.select(Account.id)
            .where(Account.id.in_(follows))
            .order_by(Account.following_count.desc())
            .limit(1)
        )
    assert viewer is not None, "a celebrity has followers"
    return [
        "",
        f"Account {celebrity.id} is a celebrity with {celebrity.follower_count} followers.",
        f"Account {viewer} follows it and others.",
        "",
        "Read the feed of that follower:",
        f"  curl -s '{url}/v1/feed?limit=5' -H 'Authorization: Bearer {_token(services, viewer)}'",
        "",
        "Post as the celebrity, and read the feed again: the post is there at once.",
        f"  {_upload(services, url, celebrity.id)}",
        "",
    ]


def _console_lines(services: Services, url: str) -> list[str]:
    """Name the largest pushed account: a small drag of the line makes it a celebrity."""
    demote_at = versions.current(services.stores).demote_at
    pushed = sa.select(Account.id, Account.follower_count).where(Account.follower_count < demote_at)
    with services.stores.sql.reading() as connection:
        rising = connection.execute(pushed.order_by(Account.follower_count.desc()).limit(1)).one()
    return [
        "Open the console; the link signs you in, once:",
        f"  {one_time_link(services.stores, url, 1, ['admin:read', 'admin:write'])}",
        f"Account {rising.id}, with {rising.follower_count} followers, is pushed so far.",
        "  1. Drag the line below that number, read the preview, and apply it.",
        "  2. Post as that account:",
        f"  {_upload(services, url, rising.id)}",
        "  3. See that its route is now pull, like a celebrity's, and roll back:",
        f"  {url}/console/accounts?id={rising.id}",
        f"Another link: {_command()} console --url {url}",
        "",
    ]


def _command() -> str:
    """Return how this installation's command is called from a shell."""
    if shutil.which("feedsvc"):
        return "feedsvc"
    beside_python = Path(sys.executable).with_name("feedsvc")
    return str(beside_python) if beside_python.exists() else f"{sys.executable} -m feedsvc"


def _upload(services: Services, url: str, account: int) -> str:
    post = '{"photo_url": "https://img.example/new.jpg", "description": "Hello"}'
    return (
        f"curl -s {url}/v1/posts -H 'Authorization: Bearer {_token(services, account)}' "
        f"-H 'Content-Type: application/json' -d '{post}'"
    )


def _token(services: Services, account: int) -> str:
    settings = services.settings
    return sign(settings, own_secret(settings), account, ["feed"], _TTL_SECONDS)
