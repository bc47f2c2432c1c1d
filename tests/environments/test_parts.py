"""The service as parts that forking servers and Celery's own commands run."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest

from feedsvc import create_app
from feedsvc.cli import check
from feedsvc.fanout.broker import count_waiting
from feedsvc.fanout.queues import SWEEP_QUEUE
from feedsvc.store.redis import keys
from feedsvc.tasks import celery_on
from tests.engines import free_port, wait_until
from tests.environments.calls import PHOTO, SECRET, authorization, pushes_a_post
from tests.environments.parts import Part
from tests.environments.servers import PgBouncer, Redis
from tests.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[2]
# Celery has to start first. At a load of 25 on two processors that alone has taken 30 s.
_PUSH_SECONDS = 90


@pytest.fixture(scope="module")
def broker():
    with closing(RabbitMQ()) as node:
        yield node


@pytest.fixture(scope="module")
def virtual_hosts(broker):
    """Return a function that returns the URL of the virtual host for a type of queue."""

    @cache
    def make(queue_type):
        name = f"v-{queue_type}"
        broker.control("add_vhost", name, "--default-queue-type", queue_type)
        broker.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return f"amqp://guest:guest@127.0.0.1:{broker.port}/{name}"

    return make


@pytest.fixture(scope="module")
def stores(postgresql):
    """The settings of a migrated database and a Redis server, for all tests of this module."""
    postgresql.execute("CREATE DATABASE parts")
    with closing(Redis()) as redis_server:
        settings = {
            "database_url": postgresql.url("parts"),
            "redis_url": f"redis://127.0.0.1:{redis_server.port}/0",
            "jwt_secret": SECRET,
            "fanout_batch": 10,
            "fanout_slice": 5,
        }
        with part(settings, "feedsvc", "db", "upgrade") as upgrade:
            assert upgrade.process.wait(60) == 0, upgrade.output()
        yield settings


@pytest.fixture
def queue_type():
    """The type of the queues of which nobody says a type."""
    return "classic"


@pytest.fixture
def settings(stores, virtual_hosts, queue_type):
    """The settings of one test."""
    return {**stores, "broker_url": virtual_hosts(queue_type)}


@pytest.fixture
def uploads(settings, monkeypatch):
    """Upload posts of three sizes in this process, and wait until workers have pushed them."""
    with create_app(**settings) as app:
        yield Uploads(app, monkeypatch)


class Uploads:
    """Accounts with 3 and with 60 followers, whose feeds exist."""

    def __init__(self, app, monkeypatch):
        self.app, self.monkeypatch = app, monkeypatch
        self.client = app.test_client()
        self.stores = app.extensions["feedsvc"].stores
        first = time.monotonic_ns()  # other accounts than in every other test
        self.small, self.large, *followers = range(first, first + 62)
        for account in (self.small, self.large, *followers):
            self.client.put(f"/v1/accounts/{account}", headers=authorization(1, "service"))
        pairs = [(each, self.large) for each in followers]
        pairs += [(each, self.small) for each in followers[:3]]
        lines = [
            {"follower": str(each), "followee": str(followee), "action": "follow"}
            for each, followee in pairs
        ]
        self.client.post("/v1/follows/batch", json=lines, headers=authorization(1, "service"))
        self.followers = followers
        for each in followers:
            self.read(each)

    def read(self, account):
        page = self.client.get("/v1/feed?limit=100", headers=authorization(account))
        return [each["id"] for each in page.json["data"]]

    def post_through_each_queue(self):
        """Post as the small account, as the large one, and as if it were larger still."""
        posts = [self.post(self.small), self.post(self.large)]
        with self.monkeypatch.context() as patch:
            patch.setattr("feedsvc.fanout.queues.LARGE", 30)
            return [*posts, self.post(self.large)]

    def post(self, account):
        body = {"photo_url": "https://img.example/1.jpg"}
        return self.client.post("/v1/posts", json=body, headers=authorization(account)).json["id"]

    def are_pushed(self, posts, sizes=(3, 60, 60)):
        """Check that each follower's feed took each post once, and that sweeps end the rest."""
        for post, followers in zip(posts, sizes, strict=True):
            wait_until(lambda post=post: self.fanout(post)["state"] == "done", _PUSH_SECONDS)
            assert self.fanout(post)["delivered"] == followers
        listed = keys.celebrity_posts(self.large)
        wait_until(lambda: self.stores.redis.llen(listed) <= 1, _PUSH_SECONDS)
        expected = [posts[2], posts[1], posts[0]]
        for follower in self.followers[:3]:
            assert self.read(follower) == expected
        return True

    def fanout(self, post):
        path = f"/v1/admin/fanouts/{post}"
        return self.client.get(path, headers=authorization(1, "admin:read")).json


def part(settings, module, *arguments):
    command = [sys.executable, "-m", module, *arguments]
    return closing(Part(*command, cwd=ROOT, **settings))


class Client:
    """Calls the service at one address."""

    def __init__(self, url):
        self.url = url

    def call(self, method, path, account, body=None, **headers):
        headers |= {**authorization(account), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        return wait_until(lambda: self._answer(request))

    def _answer(self, request):
        """Return the answer. On a busy machine a store may seem to hang: then ask again."""
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.1)
            return None

    def post(self, account, number=0):
        body = {"photo_url": f"https://img.example/{account}-{number}.jpg"}
        return self.call("POST", "/v1/posts", account, body, **{"Idempotency-Key": str(number)})


@pytest.mark.parametrize(
    "server",
    [
        ["gunicorn", "wsgi:app", "--workers", "3", "--threads", "4", "--preload", "--bind", "{}"],
        ["gunicorn", "wsgi:app", "--workers", "3", "--threads", "4", "--bind", "{}"],
        ["granian", "--interface", "wsgi", "wsgi:app", "--workers", "3", "--port", "{port}"],
    ],
    ids=["gunicorn-preload", "gunicorn", "granian"],
)
def test_each_of_hundreds_of_concurrent_requests_gets_its_own_answer(settings, server):
    port = free_port()
    command = [each.format(f"127.0.0.1:{port}", port=port) for each in server]
    with part(settings, *command) as process:
        client = Client(f"http://127.0.0.1:{port}")
        process.wait_for(f"{client.url}/healthz", 60)

        def has_its_own_answers(account):
            posted = [client.post(account, number) for number in range(3)]
            answers = [
                client.call("GET", f"/v1/accounts/{account}", account)["id"] == str(account),
                client.call("GET", "/v1/feed", account)["data"] == posted[::-1],
                client.call("GET", f"/v1/posts/{posted[1]['id']}", account) == posted[1],
            ]
            return all(answers)

        first = port * 1_000
        with ThreadPoolExecutor(16) as pool:
            right = list(pool.map(has_its_own_answers, range(first, first + 40)))
        assert all(right), process.output()[-3000:]
        assert "Traceback" not in process.output()
        assert process.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_of_celerys_own_command_takes_every_queue(settings, uploads, pool):
    worker = ["celery", "-A", "feedsvc.celery", "worker", "--pool", pool, "--concurrency", "2"]
    beat = ["celery", "-A", "feedsvc.celery", "beat"]
    with part(settings, *worker) as process, part(settings, *beat):
        assert uploads.are_pushed(uploads.post_through_each_queue()), process.output()
        assert "Traceback" not in process.output()
        assert process.stop() == 0


class TestQuorumQueues:
    @pytest.fixture
    def queue_type(self):
        return "quorum"

    def test_the_parts_push_posts_and_two_beats_are_harmless(self, settings, uploads):
        with (
            part(settings, "feedsvc", "worker") as single,
            part(settings, "feedsvc", "worker", "--concurrency", "2") as double,
            part(settings, "feedsvc", "beat") as beat,
            part(settings, "feedsvc", "beat"),
        ):
            assert uploads.are_pushed(uploads.post_through_each_queue())
            for each in (single, double, beat):
                assert each.stop() == 0, each.output()
                assert "Traceback" not in each.output()


@pytest.mark.parametrize(
    ("command", "fault", "cause"),
    [
        (["worker"], ("guest:guest", "guest:wrong"), "it refuses the login"),
        (["beat"], ("guest:guest", "guest:wrong"), "it refuses the login"),
        (["up", "--port", "0"], ("/v", "/missing"), "it has no such virtual host"),
    ],
    ids=["worker", "beat", "up"],
)
def test_a_broker_that_refuses_the_login_is_one_line_at_the_start(
    settings, tmp_path, command, fault, cause
):
    url = settings["broker_url"].replace(*fault)
    refused = {**settings, "broker_url": url, "data_dir": tmp_path}
    with part(refused, "feedsvc", *command) as process:
        assert process.process.wait(60) == 1, process.output()
        [line] = process.output().splitlines()
    assert line.startswith("error: the broker cannot be used: ")
    assert cause in line
    assert "wrong" not in line


@pytest.fixture
def limited(broker, settings):
    """The settings with a user of RabbitMQ, and a function that gives it rights."""
    name = settings["broker_url"].rpartition("/")[2]
    broker.control("add_user", "limited", "secret")

    def allow(configure, write, read):
        broker.control("set_permissions", "-p", name, "limited", configure, write, read)

    url = settings["broker_url"].replace("guest:guest", "limited:secret")
    yield {**settings, "broker_url": url}, allow
    broker.control("delete_user", "limited")


def test_the_rights_that_a_user_of_rabbitmq_lacks_are_named(limited):
    settings, allow = limited
    environment = {f"FEEDSVC_{name.upper()}": str(value) for name, value in settings.items()}

    def found():
        [finding] = [each for each in check.findings(environment) if each.part == "broker"]
        return finding.state, finding.found

    allow(".*", ".*", ".*")
    assert found() == ("ok", "takes messages, with every right that is needed")
    allow(".*", "^(?!amq)", "^(?!feedsvc.sweep)")
    assert found() == ("fault", "the user lacks write on amq.default; read on feedsvc.sweep")
    allow("feedsvc.*", ".*", "")
    state, text = found()
    assert state == "fault"
    assert "configure on *.celery.pidbox, *.reply.celery.pidbox, celery.pidbox, reply" in text
    assert "read on *.celery.pidbox, *.reply.celery.pidbox, celery.pidbox, feedsvc.fanout, " in text
    with part(settings, "feedsvc", "worker") as worker:
        assert worker.process.wait(60) == 1
        [line] = worker.output().splitlines()
    assert text in line


def test_a_broker_that_refuses_running_parts_is_a_line_in_their_logs(limited, broker):
    settings, allow = limited
    allow(".*", ".*", ".*")
    with (
        create_app(**settings) as app,
        part(settings, "feedsvc", "worker") as worker,
        part(settings, "feedsvc", "worker", "--concurrency", "2") as double,
        part(settings, "feedsvc", "beat") as beat,
    ):
        assert pushes_a_post(app, _PUSH_SECONDS)
        wait_until(lambda: len(app.extensions["feedsvc"].celery.control.ping(timeout=1)) == 2, 60)
        allow("", "", "")
        broker.control("close_all_user_connections", "limited", "closed by a test")
        for each in (worker, double):
            assert each.process.wait(30) == 1
            [line] = [line for line in each.output().splitlines() if "broker_refuses" in line]
            assert "the user lacks a right" in json.loads(line)["cause"]
        beat.wait_for_text("beat.task_not_sent")
        assert (
            app.test_client().post("/v1/posts", json=PHOTO, headers=authorization(81)).status_code
            == 201
        )
        allow(".*", ".*", ".*")
        with part(settings, "feedsvc", "worker") as next_worker:
            stores = app.extensions["feedsvc"].stores
            stores.redis.delete(keys.LAST_SWEEP)
            wait_until(lambda: stores.redis.exists(keys.LAST_SWEEP), 60)
            assert (next_worker.stop(), beat.stop()) == (0, 0)
            for each in (worker, double, beat, next_worker):
                assert "Traceback" not in each.output()


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_a_worker_that_finds_messages_at_its_start_prints_no_warning(settings, concurrency):
    with part(settings, "feedsvc", "beat"), closing(celery_on(settings["broker_url"])) as celery:
        with celery.connection_for_read() as connection:
            wait_until(lambda: count_waiting(connection, SWEEP_QUEUE) > 3, 30)
        with part(settings, "feedsvc", "worker", "--concurrency", concurrency) as worker:
            wait_until(lambda: celery.control.ping(timeout=0.5), 30)
            assert worker.stop() == 0
            plain = [line for line in worker.output().splitlines() if not line.startswith("{")]
            assert plain == ["", "worker: Warm shutdown (MainProcess)"]


def test_each_command_names_every_wrong_setting_in_a_line_and_prints_no_traceback(tmp_path):
    wrong = {"feed_cap": 0, "promote_at": "many", "data_dir": tmp_path}
    commands = {
        ("feedsvc", "worker"): 1,
        ("celery", "-A", "feedsvc.celery", "worker"): 1,
        ("celery", "-A", "feedsvc.celery", "inspect", "ping"): 1,
        ("gunicorn", "feedsvc.wsgi:app", "--bind", "127.0.0.1:0"): 3,
        ("gunicorn", "wsgi:app", "--preload", "--bind", "127.0.0.1:0"): 3,
        ("granian", "--interface", "wsgi", "wsgi:app", "--port", str(free_port())): 1,
    }
    with ExitStack() as running:
        started = {each: running.enter_context(part(wrong, *each)) for each in commands}
        for command, process in started.items():
            assert process.process.wait(60) == commands[command], command
            faults = [line for line in process.output().splitlines() if "FEEDSVC_" in line]
            assert "Traceback" not in process.output()
            assert [fault.partition(" must be")[0] for fault in faults] == [
                "error: FEEDSVC_FEED_CAP:",
                "error: FEEDSVC_PROMOTE_AT:",
            ], command


def test_a_worker_waits_for_stores_that_are_away_and_then_runs(settings, postgresql, tmp_path):
    with closing(PgBouncer(postgresql)) as bouncer, closing(Redis()) as redis_server:
        away = {
            **settings,
            "database_url": postgresql.url("parts", bouncer.port),
            "redis_url": f"redis://127.0.0.1:{redis_server.port}/0",
        }
        redis_server.kill()
        bouncer.kill()
        with part(away, "feedsvc", "worker") as worker:
            worker.wait_for_text('"store": "database"')
            bouncer.start()
            worker.wait_for_text('"store": "Redis"')
            redis_server.start()
            celery = celery_on(settings["broker_url"])
            wait_until(lambda: celery.control.ping(timeout=0.5), 20)
            celery.close()
            assert worker.stop() == 0
            assert "Traceback" not in worker.output()
        bouncer.kill()
        with part(away, "feedsvc", "worker") as worker:
            worker.wait_for_text('"store": "database"')
            assert worker.stop() == 0, "a worker that waits ends at SIGTERM"


@pytest.mark.parametrize(
    ("user", "database", "cause"),
    [
        ("root", "missing", 'database "missing" does not exist'),
        ("nobody", "parts", 'role "nobody" does not exist'),
        ("root", "postgres", "run feedsvc db upgrade"),
    ],
    ids=["database", "user", "schema"],
)
def test_a_worker_ends_in_one_line_if_the_database_refuses_it(
    settings, postgresql, user, database, cause
):
    url = postgresql.url(database).replace("root", user)
    with part({**settings, "database_url": url}, "feedsvc", "worker") as worker:
        assert worker.process.wait(60) == 1
        [line] = worker.output().splitlines()
    assert cause in line


def test_celerys_own_worker_does_not_exit_with_success_if_it_cannot_log_in(settings):
    refused = {**settings, "broker_url": settings["broker_url"].replace("guest:guest", "guest:no")}
    with part(refused, "celery", "-A", "feedsvc.celery", "worker") as process:
        assert process.process.wait(60) == 1


def test_up_serves_and_takes_uploads_while_the_broker_is_away(settings, tmp_path):
    away = {**settings, "broker_url": f"amqp://127.0.0.1:{free_port()}//", "data_dir": tmp_path}
    with part(away, "feedsvc", "up", "--port", "0", "--workers", "1") as up:
        up.wait_for_text("ready: http")
        client = Client(up.output().split("ready: ")[1].split()[0])
        posted = client.post(9)
        assert client.call("GET", "/v1/feed", 9)["data"] == [posted]
        assert up.stop() == 0


def test_up_without_web_is_ready_when_its_workers_are(settings, uploads, tmp_path):
    alone = {**settings, "data_dir": tmp_path}
    with part(alone, "feedsvc", "up", "--web-workers", "0", "--workers", "2") as up:
        up.wait_for_text("ready: workers\n", 60)
        assert uploads.are_pushed(uploads.post_through_each_queue())
        assert up.stop() == 0
