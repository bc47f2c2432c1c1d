"""The deletion of an account: hidden from the mark on, finished by the sweep, nothing left."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import NotFound
from feedsvc.feed import profile, reader
from feedsvc.graph import accounts, deletion
from feedsvc.inspection.explain import explain
from feedsvc.posts import read
from feedsvc.store.redis import usage
from feedsvc.store.sql.tables import Account, Follow, Post

STEPS = ("_remove_posts", "_remove_edges", "_remove_row")
PHOTO = {"photo_url": "https://img.example/1.jpg"}
# What the writes send. A new write needs a line here, or the test gets another answer than 409.
BODIES = {
    "POST /v1/posts": PHOTO,
    "POST /v1/accounts/{id}/posts": PHOTO,
    "PATCH /v1/posts/{post_id}": {"description": "x"},
    "PUT /v1/admin/accounts/{id}/route": {"route": "pull", "reason": "x"},
}
# The deletion itself may be repeated. A batch answers for each line. The others name no account.
NO_CONFLICT = {
    "DELETE /v1/accounts/{id}",
    "POST /v1/follows/batch",
    "PUT /v1/admin/threshold",
    "POST /v1/admin/threshold/rollback",
    "PUT /v1/admin/threshold/guardrails",
}


class Killed(BaseException):
    """The process dies: nothing handles it."""


@pytest.fixture
def dies(monkeypatch):
    """Return a function: the process that deletes an account dies before a step."""

    def arrange(step):
        def die(*_):
            raise Killed

        monkeypatch.setattr(deletion, step, die)

    yield arrange
    monkeypatch.undo()


def delete_and_die(stores, dies, monkeypatch, step, account=9):
    dies(step)
    with pytest.raises(Killed):
        deletion.delete(stores, account)
    monkeypatch.undo()


def rows_of(stores, account):
    with stores.sql.reading() as connection:
        return [
            connection.scalar(sa.select(sa.func.count()).where(sa.or_(*columns)))
            for columns in (
                [Account.id == account],
                [Post.author_id == account],
                [Follow.follower_id == account, Follow.followee_id == account],
            )
        ]


@pytest.mark.parametrize("route", ["push", "pull"])
@pytest.mark.parametrize("step", STEPS)
def test_posts_are_hidden_from_the_mark_on_and_the_sweep_finishes(
    world, make_stores, dies, monkeypatch, step, route
):
    world.add_followers(9, [1, 2])
    world.follow(9, 2)
    world.post(1)
    gone = [world.post(9) for _ in range(3)]
    if route == "push":
        world.drain()
    other = make_stores()  # another process, whose near cache has the posts
    for stores in (world.stores, other):
        assert len(reader.home_page(stores, 1, None, 10).items) == 4
    delete_and_die(world.stores, dies, monkeypatch, step)

    for stores in (world.stores, other, make_stores()):
        assert len(reader.home_page(stores, 1, None, 10).items) == 1
        for viewer in (1, None):
            assert read.many(stores, viewer, gone) == []
            with pytest.raises(NotFound):
                profile.profile_page(stores, viewer, 9, None, 10)
        with pytest.raises(NotFound):
            reader.home_page(stores, 9, None, 10)
    with pytest.raises(NotFound):
        explain(world.stores, 1, gone[0])
    assert accounts.get(world.stores, 9).deleting

    deletion.sweep(other)
    assert rows_of(world.stores, 9) == [0, 0, 0]
    assert accounts.get(world.stores, 1).following_count == 0
    assert accounts.get(world.stores, 2).follower_count == 0


def test_an_account_with_a_used_id_is_not_hidden(world, make_stores, dies, monkeypatch):
    world.add_followers(9, [1])
    world.post(9)
    other = make_stores()
    reader.home_page(other, 1, None, 10)
    delete_and_die(world.stores, dies, monkeypatch, "_remove_posts")
    assert reader.home_page(other, 1, None, 10).items == []
    deletion.sweep(world.stores)
    world.people(9)
    world.follow(1, 9)
    world.post(9)
    for stores in (world.stores, other, make_stores()):
        assert len(reader.home_page(stores, 1, None, 10).items) == 1


def test_a_late_effect_of_the_mark_does_not_hide_a_new_account(world, dies, monkeypatch):
    world.add_followers(9, [1])
    delete_and_die(world.stores, dies, monkeypatch, "_remove_posts")
    deletion.sweep(world.stores)
    world.people(9)
    world.follow(1, 9)
    world.post(9)
    outbox.AccountDeleted(9).repeat(world.stores)
    assert len(reader.home_page(world.stores, 1, None, 10).items) == 1


def test_a_stale_step_does_not_touch_a_new_account(world):
    world.add_followers(9, [1])
    post = world.post(9)
    assert not deletion._remove_posts(world.stores, 9)
    assert not deletion._remove_edges(world.stores, 9)
    deletion._remove_row(world.stores, 9)
    assert rows_of(world.stores, 9) == [1, 1, 1]
    assert read.many(world.stores, 1, [post])


def test_a_stale_last_step_spares_a_new_account_that_is_marked(world, dies, monkeypatch):
    world.add_followers(9, [1])
    world.post(9)
    delete_and_die(world.stores, dies, monkeypatch, "_remove_posts")
    assert not deletion._remove_row(world.stores, 9)
    assert rows_of(world.stores, 9) == [1, 1, 1]
    deletion.sweep(world.stores)
    assert rows_of(world.stores, 9) == [0, 0, 0]
    assert accounts.get(world.stores, 1).following_count == 0


def test_a_large_account_is_hidden_by_the_request_and_removed_by_the_sweep(world, monkeypatch):
    monkeypatch.setattr(deletion, "_STEP_ROWS", 2)
    monkeypatch.setattr(deletion, "_STEPS", 3)
    world.add_followers(9, range(1, 8))
    for _ in range(5):
        world.post(9)
    deletion.delete(world.stores, 9)
    assert accounts.get(world.stores, 9).deleting
    assert world.read(1) == []
    while rows_of(world.stores, 9) != [0, 0, 0]:
        before = rows_of(world.stores, 9)
        deletion.sweep(world.stores)
        assert rows_of(world.stores, 9) < before


def test_an_account_leaves_no_key(world, monkeypatch):
    monkeypatch.setattr(usage, "is_in_sample", lambda _: True)
    world.add_followers(90_210, [1])
    world.follow(90_210, 1)
    world.post(90_210)
    world.post(1)
    world.drain()
    for account in (1, 90_210):
        reader.home_page(world.stores, account, None, 10)
    deletion.delete(world.stores, 90_210)
    world.sweep()
    reader.home_page(world.stores, 1, None, 10)
    log = "recent-celebrity-posts"  # its entries name accounts until others take their place
    for key in world.stores.redis.scan_iter():
        name = key.decode()
        assert "90210" not in name
        if name.startswith("reads:"):
            assert not world.stores.redis.hexists(name, "90210")
        assert name == log or b"90210" not in (world.stores.redis.dump(key) or b"")


def test_every_write_to_an_account_that_is_being_deleted_is_a_conflict(
    client, auth, app, dies, monkeypatch
):
    for account in (1, 9):
        client.put(f"/v1/accounts/{account}", headers=auth(account))
    post = client.post("/v1/posts", json=PHOTO, headers=auth(9)).json["id"]
    stores = app.extensions["feedsvc"].stores
    delete_and_die(stores, dies, monkeypatch, "_remove_posts")
    document = client.get("/openapi.json").json["paths"]
    writes = {
        f"{method.upper()} {path}"
        for path, methods in document.items()
        for method in methods
        if method in ("put", "post", "patch", "delete")
    }
    assert writes > NO_CONFLICT
    for operation in writes - NO_CONFLICT:
        method, path = operation.split()
        assert "409" in document[path][method.lower()]["responses"], operation
        scope = "admin:write" if "/admin/" in path else "feed"
        names = re.findall(r"{(\w+)}", path)
        for deleting in names or ["id"]:  # as each account that the path names, or as the caller
            ids = {**dict.fromkeys(names, 1), deleting: 9, "post_id": post}
            more = {"json": BODIES[operation]} if operation in BODIES else {}
            caller = auth(ids.get("id", 9), scope)
            answer = client.open(path.format(**ids), method=method, headers=caller, **more)
            assert (answer.status_code, operation, ids) == (409, operation, ids)
    line = {"follower": "1", "followee": "9", "action": "follow"}
    batch = client.post("/v1/follows/batch", json=[line], headers=auth(1, "service"))
    assert "is being deleted" in batch.json["data"][0]["detail"]
    stranger = client.delete(f"/v1/posts/{post}", headers=auth(1))
    assert stranger.status_code == 404, "hidden from others, also from their writes"
    for account in (1, 9):
        shown = client.get("/v1/accounts/9", headers=auth(account))
        assert (shown.status_code, shown.json["deleting"]) == (200, True)
        assert "deleting" not in client.get("/v1/accounts/1", headers=auth(account)).json
    assert client.get("/v1/feed", headers=auth(9)).status_code == 404
    assert client.delete("/v1/accounts/9", headers=auth(9)).status_code == 202
    assert client.get("/v1/accounts/9", headers=auth(1)).status_code == 404
    assert client.put("/v1/accounts/9", headers=auth(9)).status_code == 201
