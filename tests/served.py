"""The service over HTTP, with every moving part under the test's control.

A test has two web processes, a worker, the queue and the clock. Stores are real, and requests go
through the Flask test client. Ids are made as in production, but from the test's clock. So uploads
can share a millisecond, the clock can be set back, and a failing run can be repeated exactly.
"""

from __future__ import annotations

import dataclasses
import math
import time
import types
from urllib.parse import quote

import jwt
import sqlalchemy as sa

from feedsvc import create_app, outbox, post_ids
from feedsvc.cache import newest_posts
from feedsvc.fanout import chain, lanes, micro_batches, sweep
from feedsvc.settings import load_settings
from feedsvc.store import open_stores, watermark
from feedsvc.store.near_cache import authors
from feedsvc.store.redis import usage
from feedsvc.store.sql import highest_id
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout

SECRET = "a secret for tests that is long enough"
URL = "https://img.example/1.jpg"
START_MS = 1_800_000_000_000


class Served:
    def __init__(self, monkeypatch, near_cache_bytes=(65_536, 2_000), **settings):
        """Open two web processes, each with its own budget for the near cache, and a worker.

        2,000 bytes hold three lists. The set of celebrities fits in sometimes.
        """
        self.queue, self.tokens, self.turn = [], {}, 0
        self.clock_ms, self.behind_ms, self.drawn = START_MS, 0, None
        apps = [
            create_app(**settings, jwt_secret=SECRET, near_cache_bytes=budget)
            for budget in near_cache_bytes
        ]
        for app in apps:
            app.extensions["feedsvc"] = dataclasses.replace(
                app.extensions["feedsvc"], enqueue=self.enqueue
            )
        self.services = [app.extensions["feedsvc"] for app in apps]
        self.apps = apps
        self.worker = open_stores(
            load_settings({}, **settings, jwt_secret=SECRET),
            database_url=settings["database_url"],
            redis_url=settings["redis_url"],
        )
        monkeypatch.setattr(lanes, "BATCHES_A_LANE", 1)  # a few followers are enough for two lanes
        monkeypatch.setattr(authors, "STEP", 3)
        monkeypatch.setattr(authors, "SPREAD_SECONDS", 0)
        monkeypatch.setattr(newest_posts, "_PASSES", (1, 2))
        monkeypatch.setattr(newest_posts, "_WORTH", 2)
        self._draw, self._read_clock = post_ids.draw, highest_id.clock_and_highest
        monkeypatch.setattr(post_ids, "draw", self._draw_and_remember)
        numbers = types.SimpleNamespace(next=self._numbers().__next__)
        monkeypatch.setattr(post_ids, "_sequence", numbers)
        monkeypatch.setattr(highest_id, "clock_and_highest", self._clock_and_highest)
        # No call pauses inside a transaction, so none is open here. Transactions of other sessions
        # on the same server would make runs differ. tests/test_open_transactions.py has open ones.
        monkeypatch.setattr(watermark.Watermark, "_decided_by", lambda _, look: look.highest or 0)
        monkeypatch.setattr(
            watermark,
            "time",
            types.SimpleNamespace(monotonic=lambda: self.clock_ms / 1000, sleep=lambda _: None),
        )
        # Figures are handed over by the clock. Their keys and steps would make runs differ.
        monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", math.inf)
        monkeypatch.setattr(outbox, "_GRACE", -outbox._GRACE)  # the sweep applies young rows too

    def close(self):
        for services in self.services:
            services.close()
        self.worker.close()

    def enqueue(self, post_id, generation, cursor, followers):
        self.queue.append((post_id, generation, cursor))

    # What clients do

    def ask(self, method, path, account, scope="feed", **more):
        """Send a request. The two web processes take turns."""
        self.turn += 1
        headers = {**self._token(account, scope), **more.pop("headers", {})}
        return (
            self.apps[self.turn % 2]
            .test_client()
            .open(path, method=method, headers=headers, **more)
        )

    def page(self, viewer, limit, cursor=None):
        """Read a page of the viewer's feed, and return the answer."""
        return self.ask(
            "GET",
            f"/v1/feed?limit={limit}" + (f"&cursor={quote(cursor)}" if cursor else ""),
            viewer,
        )

    def upload(self, author, key):
        return self.ask(
            "POST", "/v1/posts", author, json={"photo_url": URL}, headers={"Idempotency-Key": key}
        )

    # What workers do

    def run_link(self, link):
        chain.run_link(self.worker, self.enqueue, *link)

    def run_micro_batch(self):
        micro_batches.run(self.worker)

    def sweep(self):
        """Run a sweep after making every fan-out due."""
        with self.worker.sql.writing() as connection:
            connection.execute(
                sa.update(Fanout)
                .where(Fanout.next_look_at.is_not(None))
                .values(next_look_at=db_time())
            )
        sweep.sweep(self.worker, self.enqueue)

    def _token(self, account, scope):
        if (account, scope) not in self.tokens:
            claims = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 7200}
            self.tokens[account, scope] = {
                "Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
            }
        return self.tokens[account, scope]

    def _numbers(self):
        """Yield numbers that are spread over a millisecond, like those of many processes."""
        number = 0
        while True:
            number = number * 5 + 1
            yield number

    def _draw_and_remember(self, *clock_and_highest):
        self.drawn = self._draw(*clock_and_highest)
        return self.drawn

    def _clock_and_highest(self, connection):
        _, highest = self._read_clock(connection)
        return self.clock_ms - self.behind_ms, highest


def ids_of(answer):
    return [int(post["id"]) for post in answer.json["data"]]
