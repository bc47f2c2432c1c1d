"""A web process that is killed while it deletes an account."""

from __future__ import annotations

import signal
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg

from feedsvc import create_app
from tests.engines import free_port, wait_until
from tests.environments.calls import PHOTO, SECRET, authorization, migrated
from tests.environments.parts import Part

ROOT = Path(__file__).parents[2]


def part(settings, *command):
    return closing(Part(sys.executable, "-m", "feedsvc", *command, cwd=ROOT, **settings))


def test_a_deletion_whose_web_process_is_killed_hides_the_posts_and_is_finished_by_the_sweep(
    postgresql, database, redis_server, tmp_path
):
    settings = {
        "database_url": migrated(postgresql.url(database)),
        "redis_url": f"redis://127.0.0.1:{redis_server.port}/0",
        "jwt_secret": SECRET,
        "data_dir": tmp_path,
        "database_statement_seconds": 30,  # the deletion waits until its process is killed
    }
    with create_app(**settings) as app:
        client = app.test_client()

        def read(account, path):
            answer = client.get(path, headers=authorization(account))
            assert answer.status_code == 200, answer.text
            return [post["id"] for post in answer.json["data"]]

        for account in (1, 9):
            client.put(f"/v1/accounts/{account}", headers=authorization(account))
        client.put("/v1/accounts/me/following/9", headers=authorization(1))
        posts = [
            client.post("/v1/posts", json=PHOTO, headers=authorization(9)).json["id"]
            for _ in range(3)
        ]
        by_id = f"/v1/posts?ids={','.join(posts)}"
        assert read(1, "/v1/feed") == posts[::-1]
        assert read(1, by_id) == posts

        port = free_port()
        with (
            part(settings, "web", "--port", str(port), "--processes", "1") as web,
            ThreadPoolExecutor(1) as thread,
        ):
            web.wait_for(f"http://127.0.0.1:{port}/healthz", 60)
            with psycopg.connect(
                f"host=127.0.0.1 port={postgresql.port} user=root dbname={database}"
            ) as lock:
                lock.execute("SELECT id FROM posts FOR UPDATE")
                thread.submit(delete_account, port)
                wait_until(lambda: waits_for_a_lock(postgresql, database), 20)
                web.stop(signal.SIGKILL)

        assert client.get("/v1/accounts/9", headers=authorization(1)).json["deleting"] is True
        assert count(postgresql, database, "posts WHERE author_id = 9") == 3
        assert read(1, "/v1/feed") == read(1, by_id) == []
        with part(settings, "worker"), part(settings, "beat"):
            wait_until(lambda: count(postgresql, database, "accounts WHERE id = 9") == 0, 40)
        assert count(postgresql, database, "posts WHERE author_id = 9") == 0
        assert client.get("/v1/accounts/9", headers=authorization(1)).status_code == 404
        assert client.get("/v1/accounts/1", headers=authorization(1)).json["following_count"] == 0
        assert read(1, "/v1/feed") == read(1, by_id) == []


def delete_account(port):
    address = f"http://127.0.0.1:{port}/v1/accounts/9"
    with suppress(OSError):
        urllib.request.urlopen(
            urllib.request.Request(address, headers=authorization(9), method="DELETE"), timeout=60
        )


def waits_for_a_lock(postgresql, database):
    waiting = "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return count(postgresql, database, waiting) > 0


def count(postgresql, database, rows):
    [[number]] = postgresql.execute(f"SELECT count(*) FROM {rows}", database)
    return number
