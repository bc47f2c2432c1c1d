"""Tokens for the service, and calls of it by as many threads as a web process has."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jwt

from feedsvc.settings import REQUEST_THREADS
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from tests.engines import wait_until

PHOTO = {"photo_url": "https://img.example/1.jpg"}
SECRET = "a secret for tests that is long enough"


class Answer(NamedTuple):
    """What a call gave, and how long it took."""

    status: int
    seconds: float
    text: str
    retry_after: str | None


def authorization(account: int, scope: str = "feed") -> dict[str, str]:
    """Return the header of an account's token, which is signed with `SECRET`."""
    claims = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 3_600}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}


def migrated(url: str) -> str:
    """Migrate a database, and return its URL."""
    database = Database(url)
    migrate.upgrade(database)
    database.close()
    return url


def call(app, method: str, path: str, headers, **more) -> Answer:
    """Make one call."""
    began = time.monotonic()
    answer = app.test_client().open(path, method=method, headers=headers, **more)
    taken = time.monotonic() - began
    return Answer(answer.status_code, taken, answer.text, answer.headers.get("Retry-After"))


def upload(app, headers) -> Answer:
    """Upload a post."""
    return call(app, "POST", "/v1/posts", headers, json=PHOTO)


def pushes_a_post(app, seconds: float = 30) -> bool:
    """Let account 91 follow 81, and upload as 81. Wait until a worker has pushed the post."""
    client = app.test_client()
    for account in (81, 91):
        client.put(f"/v1/accounts/{account}", headers=authorization(account))
    client.put("/v1/accounts/91/following/81", headers=authorization(91))
    assert client.get("/v1/feed", headers=authorization(91)).json["data"] == []
    post = client.post("/v1/posts", json=PHOTO, headers=authorization(81)).json

    def fan_out():
        address = f"/v1/admin/fanouts/{post['id']}"
        return client.get(address, headers=authorization(1, "admin:read")).json

    wait_until(lambda: fan_out()["state"] == "done", seconds)
    return fan_out()["delivered"] == 1


def together(calls, threads: int = REQUEST_THREADS) -> list[Answer]:
    """Make the calls from several threads, in order as threads become free."""
    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(each) for each in calls]]


def are_unavailable(answers: list[Answer]) -> bool:
    """Return whether each answer is a 503 that says when to come back and tells nothing inside."""
    for answer in answers:
        assert answer.status == 503, answer
        assert int(answer.retry_after or 0) > 0
        assert "127.0.0.1" not in answer.text
        assert "SELECT" not in answer.text
    return True
