"""The answer of a tutorial: a Celery task that pushes into 10,000 home feeds, one LPUSH each, and enqueues itself with the next offset.

`python -m benchmarks.tutorial NAME` is one of its workers, with Redis as `pip install redis` and the tutorial leave it: TCP, and
answers parsed in Python. With `fastest` it has what costs a line: the unix socket, and hiredis. It trims nothing.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and "fastest" not in sys.argv:
    sys.modules["hiredis"] = None  # `pip install redis` does not bring it

import redis
import sqlalchemy as sa
from celery import Celery

PREFIX = "tutorial:"
PORT = "TUTORIAL_REDIS_PORT"
TASK = "tutorial.fan_out"
_BATCH = 10_000
_IDS = sa.text(
    "SELECT follower_id FROM follows WHERE followee_id = :author ORDER BY follower_id LIMIT :count OFFSET :offset"
)


def make_celery(broker_url: str, *how: str) -> Celery:
    """The application, with the service's own settings, and a queue for each way."""
    app = Celery(
        "tutorial",
        broker=broker_url.replace("virtual_host=0", f"virtual_host={1 + len(how)}"),
        set_as_current=False,
    )
    app.config_from_object("celeryconfig")
    return app


def _plain() -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=int(os.environ[PORT]))


def _fastest() -> redis.Redis:
    return redis.Redis.from_url(os.environ["FEEDSVC_REDIS_URL"])


def main() -> None:
    """Work until ended."""
    name, *how = sys.argv[1:]
    app = make_celery(os.environ["FEEDSVC_BROKER_URL"], *how)
    client = _fastest() if how else _plain()
    engine = sa.create_engine(os.environ["FEEDSVC_DATABASE_URL"])

    @app.task(name=TASK)
    def fan_out(post_id: int, author: int, offset: int, upto: int) -> None:
        with engine.connect() as connection:
            ids = list(
                connection.scalars(
                    _IDS, {"author": author, "count": min(_BATCH, upto - offset), "offset": offset}
                )
            )
        for follower in ids:
            client.lpush(f"{PREFIX}{follower}", post_id)
        if offset + len(ids) < upto:
            fan_out.delay(post_id, author, offset + _BATCH, upto)

    app.worker_main(
        [
            "worker",
            "--pool=solo",
            f"--hostname={name}@%h",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
