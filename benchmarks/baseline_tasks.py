"""Celery workers to compare with: a tutorial's fan-out task, and a task that does nothing.

`python -m benchmarks.baseline_tasks NAME KIND` runs one worker. The kinds:

- `tutorial`: push an id into 10,000 home feeds, one LPUSH each, then enqueue the task again with
  the next offset. It trims nothing. Redis is used as `pip install redis` leaves it: over TCP, with
  answers parsed in Python.
- `tuned`: the same task with two improvements of one line each: the unix socket, and hiredis.
- `noop`: no work. This is the cost of the broker and of Celery.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and "tutorial" in sys.argv:
    sys.modules["hiredis"] = None  # `pip install redis` does not install hiredis

import redis
import sqlalchemy as sa
from celery import Celery

# The tutorial's lists are `tutorial:<follower>`.
PREFIX = "tutorial:"
PORT = "TUTORIAL_REDIS_PORT"
FAN_OUT = "tutorial.fan_out"
NOOP = "noop"
# Each kind has a broker database of its own; the service uses 0.
BROKER_DATABASES = {"tutorial": 1, "tuned": 2, "noop": 3}
_BATCH = 10_000
_IDS = sa.text(
    "SELECT follower_id FROM follows WHERE followee_id = :author "
    "ORDER BY follower_id LIMIT :count OFFSET :offset"
)


def make_celery(broker_url: str, kind: str) -> Celery:
    """Return a Celery application with the service's settings and a broker database of its own."""
    database = f"virtual_host={BROKER_DATABASES[kind]}"
    app = Celery(kind, broker=broker_url.replace("virtual_host=0", database), set_as_current=False)
    app.config_from_object("feedsvc.celery_settings")
    return app


def main() -> None:
    """Run a worker until it is killed."""
    name, kind = sys.argv[1:]
    app = make_celery(os.environ["FEEDSVC_BROKER_URL"], kind)
    if kind == "noop":
        app.task(_do_nothing, name=NOOP)
    else:
        _add_fan_out(app, _tcp() if kind == "tutorial" else _unix_socket())
    options = ["--loglevel=WARNING", "--without-gossip", "--without-mingle"]
    app.worker_main(["worker", "--pool=solo", f"--hostname={name}@%h", *options])


def _do_nothing(number: int) -> None:
    pass


def _add_fan_out(app: Celery, client: redis.Redis) -> None:
    engine = sa.create_engine(os.environ["FEEDSVC_DATABASE_URL"])

    @app.task(name=FAN_OUT)
    def fan_out(post_id: int, author: int, offset: int, total: int) -> None:
        batch = {"author": author, "count": min(_BATCH, total - offset), "offset": offset}
        with engine.connect() as connection:
            ids = list(connection.scalars(_IDS, batch))
        for follower in ids:
            client.lpush(f"{PREFIX}{follower}", post_id)
        if offset + len(ids) < total:
            fan_out.delay(post_id, author, offset + _BATCH, total)


def _tcp() -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=int(os.environ[PORT]))


def _unix_socket() -> redis.Redis:
    return redis.Redis.from_url(os.environ["FEEDSVC_REDIS_URL"])


if __name__ == "__main__":
    main()
