"""Stream-Framework 1.4.0, for a share of the followers. It delivers a post for each line of stdin.

It needs two changes to run on a current Python, both made here while it is imported:

- its manager has an argument named `async`, which is a keyword since Python 3.7;
- its connection must use the server's unix socket.

Its Celery tasks run eagerly, in this process, because redis-py 2.10.6 is too old for any Celery
broker on Redis. So it does not pay for a queue. It trims at random, which is its default.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import re
import sqlite3
import sys
from importlib.abc import MetaPathFinder
from typing import Any

import celery

_SOCKET, _DATABASE, _AUTHOR, _FOLLOWERS, _CAP, _PROCESSES, _NUMBER = sys.argv[1:]
_FILL = "for number = 1, #KEYS do redis.call('ZADD', KEYS[number], unpack(ARGV)) end"
_KEYS_A_SCRIPT = 20


class _Loader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        text = bytes(data).decode()
        return super().source_to_code(
            re.sub(r"\basync\b", "asynchronous", text).encode(), path, _optimize=_optimize
        )

    def get_code(self, fullname: str) -> Any:  # skips the bytecode cache
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, _: Any = None) -> Any:
        if name != "stream_framework.feed_managers.base":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
celery.Celery("peer", set_as_current=True).conf.update(
    task_always_eager=True, task_serializer="pickle", accept_content=["pickle"]
)

import redis  # noqa: E402 -- of this environment, and after the patches
from stream_framework.activity import Activity  # noqa: E402
from stream_framework.feed_managers.base import FanoutPriority, Manager  # noqa: E402
from stream_framework.feeds.redis import RedisFeed  # noqa: E402
from stream_framework.storage.redis import connection  # noqa: E402
from stream_framework.verbs import register  # noqa: E402
from stream_framework.verbs.base import Verb  # noqa: E402

connection.connection_pool = {
    "default": redis.ConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=_SOCKET, decode_responses=True
    )
}


class _Photo(Verb):
    id = 9
    infinitive = "photo"
    past_tense = "photographed"


class _HomeFeed(RedisFeed):
    key_format = "stream:home:%(user_id)s"
    max_length = int(_CAP)


class _UserFeed(RedisFeed):
    key_format = f"stream:user:{_PROCESSES}:{_NUMBER}:%(user_id)s"


class _Manager(Manager):
    feed_classes = {"normal": _HomeFeed}  # noqa: RUF012 -- as Stream-Framework's manual says
    user_feed_class = _UserFeed

    def get_user_follower_ids(self, user_id: int) -> dict[str, list[int]]:
        query = "SELECT follower_id FROM follows WHERE followee_id = ? ORDER BY follower_id LIMIT ?"
        with sqlite3.connect(_DATABASE) as database:
            rows = database.execute(query, (user_id, int(_FOLLOWERS))).fetchall()
        return {
            FanoutPriority.HIGH: [
                row[0] for row in rows if row[0] % int(_PROCESSES) == int(_NUMBER)
            ]
        }


def _fill(manager: _Manager, author: int) -> None:
    """Store full feeds whose members are as long as Stream-Framework's own."""
    client = connection.get_redis_connection()
    newest = Activity(author, _Photo, 1).serialization_id
    pairs = list(
        itertools.chain.from_iterable(
            (newest - number * 10**13, newest - number * 10**13)
            for number in range(1, int(_CAP) + 1)
        )
    )
    keys = [
        _HomeFeed(user).key for user in manager.get_user_follower_ids(author)[FanoutPriority.HIGH]
    ]
    for first in range(0, len(keys), _KEYS_A_SCRIPT):
        part = keys[first : first + _KEYS_A_SCRIPT]
        client.eval(_FILL, len(part), *part, *pairs)


def _main() -> None:
    register(_Photo)
    manager, author = _Manager(), int(_AUTHOR)
    _fill(manager, author)
    for number in itertools.count(2):
        print("ready", flush=True)
        if not sys.stdin.readline():
            return
        manager.add_user_activity(author, Activity(author, _Photo, number))


_main()
