"""The service over HTTP, with real workers on a real broker."""

from __future__ import annotations

import pytest

from feedsvc.fanout.queues import QUEUES
from feedsvc.store.redis import keys
from tests import workers
from tests.engines import wait_until

FOLLOWERS = list(range(2**62, 2**62 + 8))
AUTHOR = 7


@pytest.fixture
def service(client, auth, app):
    """Make a client with helpers, on an empty broker. Eight followers have read their feeds."""
    services = app.extensions["feedsvc"]
    with services.celery.connection_for_write() as connection:
        for queue in QUEUES:
            bound = services.celery.amqp.queues[queue](connection.default_channel)
            bound.declare()
            bound.purge()
    return Service(client, auth, services)


class Service:
    def __init__(self, client, auth, services):
        self.client, self.auth, self.services = client, auth, services
        lines = [
            {"follower": str(follower), "followee": str(AUTHOR), "action": "follow"}
            for follower in FOLLOWERS
        ]
        for account in (AUTHOR, *FOLLOWERS):
            client.put(f"/v1/accounts/{account}", headers=auth(1, "service"))
        assert (
            client.post("/v1/follows/batch", json=lines, headers=auth(1, "service")).status_code
            == 200
        )
        assert all(self.feed(follower) == [] for follower in FOLLOWERS)

    def post(self):
        answer = self.client.post(
            "/v1/posts", json={"photo_url": "https://img.example/1.jpg"}, headers=self.auth(AUTHOR)
        )
        assert answer.status_code == 201
        return answer.json["id"]

    def feed(self, viewer):
        answer = self.client.get("/v1/feed?limit=100", headers=self.auth(viewer))
        assert answer.status_code == 200, answer.json
        return [post["id"] for post in answer.json["data"]]

    def fanout(self, post):
        return self.client.get(f"/v1/admin/fanouts/{post}", headers=self.auth(1, "admin:read")).json

    def is_done(self, post):
        return self.fanout(post)["state"] == "done"

    def assert_every_feed_is(self, posts):
        assert all(self.feed(follower) == posts for follower in FOLLOWERS)


def test_workers_move_posts_into_the_feeds_and_off_the_celebrity_list(service, settings):
    with workers.processes(settings, "worker one", "worker two", "beat"):
        posts = [service.post() for _ in range(5)]
        service.assert_every_feed_is(posts[::-1])
        for post in posts:
            wait_until(lambda post=post: service.is_done(post), 30)
            done = service.fanout(post)
            assert (done["followers"], done["delivered"], done["skipped"], done["batches"]) == (
                8,
                8,
                0,
                3,
            )
        redis = service.services.stores.redis
        wait_until(lambda: redis.zscore(keys.CELEBRITIES, AUTHOR) is None, 30)
        service.assert_every_feed_is(posts[::-1])
        stored = redis.lrange(service.services.stores.keys.homefeed(FOLLOWERS[0]), 0, -1)
        assert sorted(map(bytes.decode, stored[:-1])) == posts, "each was pushed once"


def test_a_post_is_in_every_feed_without_any_worker(service):
    post = service.post()
    service.assert_every_feed_is([post])
    assert service.fanout(post)["state"] == "pending"


def test_no_post_is_lost_when_a_worker_is_killed_in_a_chain(service, settings):
    """Deliver one follower a batch: some of the eight links have run when the worker dies."""
    settings = {**settings, "fanout_batch": 1}
    post = service.post()
    redis = service.services.stores.redis
    with workers.processes(settings, "worker one") as [worker]:
        wait_until(
            lambda: (
                redis.hget(service.services.stores.keys.fanout(post, 0, 0), "cursor") is not None
            ),
            30,
        )
        worker.kill()
        worker.wait()
    service.assert_every_feed_is([post])
    with workers.processes(settings, "worker two", "beat"):
        wait_until(lambda: service.is_done(post), 60)
    service.assert_every_feed_is([post])
    assert service.fanout(post)["delivered"] == 8
    for follower in FOLLOWERS:
        assert (
            redis.lrange(service.services.stores.keys.homefeed(follower), 0, -1).count(
                post.encode()
            )
            == 1
        )


def test_no_post_is_lost_when_valkey_is_flushed_during_fan_outs(service, settings):
    with workers.processes(settings, "worker one", "beat"):
        posts = []
        for number in range(6):
            posts.insert(0, service.post())
            if number % 2:
                service.services.stores.redis.flushall()
            service.assert_every_feed_is(posts)
        for post in posts:
            wait_until(lambda post=post: service.is_done(post), 60)
        service.assert_every_feed_is(posts)
