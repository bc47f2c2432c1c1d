"""Explanations of why a post is, or is not, in a feed: each reason, from real stores."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import sqlalchemy as sa
from alembic import command

from feedsvc.errors import NotFound
from feedsvc.graph import follows, load
from feedsvc.inspection.explain import explain
from feedsvc.store.redis import keys, lists
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.store.sql.tables import Follow
from tests import test_cli
from tests.test_http import BAD_IDS, is_problem

run = test_cli.run
BIG = 2**63 - 2
FOLLOWERS = range(1, 8)  # batches of 3: 1-3, 4-6, 7


@pytest.fixture
def explained(world):
    """Return a function that explains a post to a viewer and checks the facts with the oracle."""

    def check(viewer, post_id):
        facts = explain(world.stores, viewer, post_id)
        assert facts.in_feed == facts.served == (post_id in world.oracle.feed(viewer))
        assert (facts.source is None) == (not facts.served)
        return facts

    return check


def read_from(source, reason):
    """Return the sentence for a post that is in the feed, as it should be."""
    return f"in the feed: read from {source}, because {reason}"


def pushed(world, followers=FOLLOWERS):
    """Publish a post of 9 and run its fan-out to the end: the stored home feeds have it."""
    world.add_followers(9, followers)
    world.is_exact(*followers, 9)
    post_id = world.post(9)
    world.drain()
    world.sweep()
    return post_id


def dump(redis):
    """Return all keys but the usage figures, which every read may hand over once a second."""
    return {key: redis.dump(key) for key in redis.keys("*") if not key.startswith(b"figures:")}


# In the feed


def test_a_pulled_post_is_read_from_its_authors_celebrity_list(world, explained):
    world.add_followers(9, [7])
    world.read(7)
    world.pull_all()
    facts = explained(7, world.post(9))
    assert facts.why == read_from("the celebrity list of 9", "the post is pulled")
    assert (facts.source, facts.route, facts.policy_version) == ("celebrity list", "pull", 2)
    assert (facts.fanout.state, facts.fanout.batch, facts.fanout.has_passed, facts.pushed_at) == (
        "done",
        None,
        None,
        None,
    )
    assert (facts.celebrity_list.state, facts.celebrity_list.holds_post, facts.home.holds_post) == (
        "valid",
        True,
        False,
    )


def test_a_pulled_post_whose_celebrity_list_is_lost_is_read_from_the_database(world, explained):
    world.add_followers(9, [7])
    world.pull_all()
    post_id = world.post(9)
    world.stores.redis.delete(keys.celebrity_posts(9))
    facts = explained(7, post_id)
    assert facts.why == read_from("the database", "the celebrity list of 9 was not stored")
    assert explained(7, post_id).source == "celebrity list"


def test_a_post_not_pushed_yet_whose_celebrity_list_is_lost_is_read_from_the_database(
    world, explained
):
    world.add_followers(9, FOLLOWERS)
    world.is_exact(*FOLLOWERS)
    post_id = world.post(9)
    world.stores.redis.delete(keys.celebrity_posts(9))
    facts = explained(7, post_id)
    assert facts.why == read_from("the database", "the celebrity list of 9 was not stored")
    assert (facts.home.state, facts.home.holds_post, facts.celebrity_list.state) == (
        "valid",
        False,
        "absent",
    )


def test_before_its_batch_has_run_a_post_is_read_from_the_celebrity_list(world, explained):
    world.add_followers(9, FOLLOWERS)
    world.is_exact(*FOLLOWERS)
    post_id = world.post(9)
    assert explained(7, post_id).fanout.state == "pending"
    world.run_link()
    facts = explained(4, post_id)
    assert facts.why == read_from(
        "the celebrity list of 9", "batch 2 of the fan-out has not run yet"
    )
    assert (facts.source, facts.home.holds_post) == ("celebrity list", False)
    assert (
        facts.fanout.state,
        facts.fanout.batch,
        facts.fanout.batches,
        facts.fanout.has_passed,
    ) == ("running", 2, 1, False)


def test_once_its_batch_has_run_a_post_is_in_the_home_feed(world, explained):
    world.add_followers(9, FOLLOWERS)
    world.is_exact(*FOLLOWERS)
    post_id = world.post(9)
    world.run_link()
    facts = explained(3, post_id)
    assert facts.why == read_from("the home feed", "batch 1 of the fan-out pushed it there")
    assert (facts.source, facts.fanout.batch, facts.fanout.has_passed, facts.pushed_at) == (
        "home feed",
        1,
        True,
        None,
    )
    assert facts.home == facts.celebrity_list, "both lists hold it, with floor 0"


def test_the_last_batch_has_passed_when_the_fan_out_is_done(world, explained):
    post_id = pushed(world)
    world.stores.redis.delete(world.stores.keys.fanout(post_id, 0, 0))
    facts = explained(7, post_id)
    assert facts.why == read_from("the home feed", "batch 3 of the fan-out pushed it there")
    assert (
        facts.fanout.state,
        facts.fanout.batch,
        facts.fanout.batches,
        facts.fanout.has_passed,
    ) == ("done", 3, 3, True)
    assert facts.pushed_at is not None
    assert not facts.celebrity_list.holds_post


def test_batches_and_the_cursor_are_compared_as_numbers_not_as_text(world, explained):
    followers = [5, 6, 7, 10, 11, BIG]
    world.add_followers(9, followers)
    post_id = world.post(9)
    world.run_link()
    passed = {viewer: explained(viewer, post_id).fanout for viewer in followers}
    assert [(facts.batch, facts.has_passed) for facts in passed.values()] == [(1, True)] * 3 + [
        (2, False)
    ] * 3


def test_a_feed_that_was_not_stored_when_its_batch_ran_is_read_from_the_celebrity_list(
    world, explained
):
    world.add_followers(9, [7])
    post_id = world.post(9)
    world.drain()
    facts = explained(7, post_id)
    assert facts.why == read_from(
        "the celebrity list of 9", "batch 1 of the fan-out has run, but not into this feed"
    )
    assert (facts.home.state, facts.home.floor) == ("absent", None)


def test_a_feed_rebuilt_before_the_fan_out_holds_the_post_already(world, explained):
    world.add_followers(9, [7])
    post_id = world.post(9)
    world.read(7)
    assert explained(7, post_id).why == read_from(
        "the home feed", "a rebuild stored it there before batch 1 of the fan-out"
    )


def test_a_post_older_than_the_follow_was_stored_by_a_rebuild_not_pushed(world, explained):
    post_id = pushed(world, [7])
    world.add_followers(9, [8])
    with world.stores.sql.writing() as connection:
        later = Follow.followed_at_seconds + 60
        connection.execute(
            sa.update(Follow).where(Follow.follower_id == 8).values(followed_at_seconds=later)
        )
    world.read(8)
    why = read_from(
        "the home feed",
        "a rebuild stored it there after the follow, which is younger than the fan-out",
    )
    assert explained(8, post_id).why == why
    assert explained(7, post_id).why == read_from(
        "the home feed", "batch 1 of the fan-out pushed it there"
    )


def test_the_first_batch_pushes_the_post_to_its_author(world, explained):
    world.add_followers(9, FOLLOWERS)
    world.read(9)
    post_id = world.post(9)
    assert explained(9, post_id).fanout.has_passed is False
    world.run_link()
    facts = explained(9, post_id)
    assert facts.why == read_from("the home feed", "batch 1 of the fan-out pushed it there")
    assert (facts.is_own, facts.follows, facts.followed_since, facts.fanout.batch) == (
        True,
        False,
        None,
        None,
    )


def test_a_post_at_or_below_the_floor_is_read_from_the_database(world, explained):
    world.add_followers(9, [7])
    post_ids = [world.post(9) for _ in range(12)]
    world.drain()
    world.read(7)
    facts = explained(7, post_ids[0])
    assert facts.why == read_from(
        "the database", "it is at or below the horizon of the stored lists"
    )
    assert (facts.source, facts.home.floor, facts.home.holds_post) == (
        "database",
        post_ids[1],
        False,
    )
    assert explained(7, post_ids[2]).source == "home feed"


def test_a_post_at_the_floor_is_read_from_the_database_even_if_another_list_holds_it(
    world, explained
):
    world.add_followers(9, [7])
    post_ids = [world.post(9) for _ in range(11)]
    world.read(7)
    facts = explained(7, post_ids[0])
    assert (facts.home.floor, facts.celebrity_list.floor, facts.celebrity_list.holds_post) == (
        post_ids[0],
        0,
        True,
    )
    assert (facts.why, facts.source) == (
        read_from("the database", "it is at or below the horizon of the stored lists"),
        "database",
    )


def test_a_post_at_or_below_the_floor_of_another_list_is_read_from_the_database(world, explained):
    post_id = pushed(world, [7])
    world.add_followers(8, [7])
    world.read(7)
    world.pull_all()
    for _ in range(15):
        world.post(8)
    facts = explained(7, post_id)
    assert (facts.home.floor, facts.home.holds_post, facts.source) == (0, True, "database")
    assert facts.horizon >= post_id


def test_an_absent_feed_is_read_from_the_database_and_then_stored(world, explained):
    post_id = pushed(world, [7])
    world.stores.redis.delete(world.stores.keys.homefeed(7))
    facts = explained(7, post_id)
    assert facts.why == read_from("the database", "the home feed was not stored")
    assert (facts.home.state, facts.home.floor, facts.source) == ("absent", None, "database")
    assert (explained(7, post_id).home.state, explained(7, post_id).source) == (
        "valid",
        "home feed",
    )


def test_a_feed_being_built_is_not_read(world, explained):
    post_id = pushed(world, [7])
    world.stores.redis.delete(world.stores.keys.homefeed(7))
    lists.open_to_build(world.stores.redis, world.stores.keys.homefeed(7), 60)
    facts = explained(7, post_id)
    assert (facts.home.state, facts.home.floor, facts.home.holds_post, facts.source) == (
        "building",
        None,
        False,
        "database",
    )


def test_a_post_pushed_to_a_feed_being_built_is_not_read_from_it(world, explained):
    world.add_followers(9, [7])
    lists.open_to_build(world.stores.redis, world.stores.keys.homefeed(7), 60)
    post_id = world.post(9)
    world.drain()
    world.sweep()
    facts = explained(7, post_id)
    assert (facts.home.state, facts.home.holds_post, facts.source) == ("building", True, "database")


# Not in the feed


def test_a_deleted_post_is_not_in_the_feed(world, explained):
    post_id = pushed(world, [7])
    world.delete(9, post_id)
    facts = explained(7, post_id)
    assert (
        facts.why
        == f"not in the feed: the post was deleted at {facts.deleted_at:%Y-%m-%dT%H:%M:%SZ}"
    )
    assert facts.home.holds_post


def test_a_fan_out_that_a_deletion_ended_has_passed_no_viewer(world, explained):
    world.add_followers(9, [7])
    post_id = world.post(9)
    world.delete(9, post_id)
    assert (explained(7, post_id).fanout.state, explained(7, post_id).fanout.has_passed) == (
        "done",
        False,
    )


@pytest.mark.parametrize("ever", [True, False])
def test_a_post_of_an_account_that_is_not_followed_is_not_in_the_feed(world, explained, ever):
    post_id = pushed(world, [7])
    world.people(8)
    world.unfollow(7, 9)
    facts = explained(7 if ever else 8, post_id)
    assert facts.why == f"not in the feed: {facts.viewer} does not follow 9"
    assert (
        facts.home.holds_post,
        facts.fanout.batch,
        facts.fanout.has_passed,
        facts.followed_since,
    ) == (ever, None, None, None)


def test_a_post_of_a_muted_account_is_not_in_the_feed(world, explained):
    post_id = pushed(world, [7])
    world.mute(7, 9)
    facts = explained(7, post_id)
    assert facts.why == "not in the feed: 7 has muted 9"
    assert (facts.follows, facts.hidden_by) == (True, ["mute"])


def test_a_block_is_named_before_the_follow_that_it_ended(world, explained):
    post_id = pushed(world, [6, 7])
    world.block(7, 9)
    world.block(9, 6)
    assert (explained(7, post_id).why, explained(7, post_id).hidden_by) == (
        "not in the feed: 7 blocks 9",
        ["block"],
    )
    assert (explained(6, post_id).why, explained(6, post_id).hidden_by) == (
        "not in the feed: 9 blocks 6",
        ["blocked by author"],
    )


# Wrongly served, or wrongly not served


def test_a_post_missing_from_a_home_feed_is_named_with_its_remedy(world, explained):
    post_id = pushed(world, [7])
    world.stores.redis.lrem(world.stores.keys.homefeed(7), 0, str(post_id))
    facts = explain(world.stores, 7, post_id)
    assert facts.why == "should be in the feed but is not served: run feedsvc feed rebuild 7"
    assert (facts.in_feed, facts.served, facts.source) == (True, False, None)
    world.stores.redis.delete(world.stores.keys.homefeed(7))
    assert explained(7, post_id).served


def test_a_post_missing_from_a_celebrity_list_is_named_with_its_remedy(world, explained):
    world.add_followers(9, [7])
    world.pull_all()
    post_id = world.post(9)
    world.stores.redis.lrem(keys.celebrity_posts(9), 0, str(post_id))
    why = explain(world.stores, 7, post_id).why
    assert why.startswith(
        "should be in the feed but is not served: run feedsvc feed rebuild 7, and delete "
        "celebrity-posts:9, celebrities and recent-celebrity-posts in Redis"
    )
    feed = (world.stores.keys.homefeed(7), world.stores.keys.relations(7))
    world.stores.redis.delete(
        *feed, keys.celebrity_posts(9), keys.CELEBRITIES, keys.INVALIDATION_LOG
    )
    assert explained(7, post_id).served


def test_a_post_served_wrongly_is_named_with_its_remedy(world):
    post_id = pushed(world, [7])
    world.read(7)
    relations = world.stores.redis.get(world.stores.keys.relations(7))
    world.unfollow(7, 9)
    world.stores.redis.set(world.stores.keys.relations(7), relations)
    assert explain(world.stores, 7, post_id).why == (
        "should not be in the feed but is served (7 does not follow 9): run feedsvc feed rebuild 7"
    )


def test_a_deleted_post_that_is_still_served_is_named_with_its_remedy(world):
    post_id = pushed(world, [7])
    world.read(7)
    body = world.stores.redis.get(keys.post(post_id))
    world.delete(9, post_id)
    world.stores.redis.set(keys.post(post_id), body)
    assert f"delete post:{post_id} in Redis" in explain(world.stores, 7, post_id).why


def test_facts_are_gathered_again_after_a_change_in_between(world, monkeypatch):
    from feedsvc.feed import reader

    post_id, read = pushed(world, [7]), reader.read_feed

    def unfollow_then_read(*args):
        monkeypatch.setattr(reader, "read_feed", read)
        world.unfollow(7, 9)
        return read(*args)

    monkeypatch.setattr(reader, "read_feed", unfollow_then_read)
    assert explain(world.stores, 7, post_id).why == "not in the feed: 7 does not follow 9"


# Explaining changes no view


def test_explaining_a_feed_that_was_just_read_changes_no_key(world):
    post_id = pushed(world)
    other = world.post(9)
    world.run_link()
    world.is_exact(*FOLLOWERS, 9)
    before = dump(world.stores.redis)
    for viewer in (*FOLLOWERS, 9):
        explain(world.stores, viewer, post_id)
        explain(world.stores, viewer, other)
    assert dump(world.stores.redis) == before


def test_explaining_on_an_empty_redis_stores_the_same_keys_as_a_read(world):
    post_id = pushed(world)
    world.stores.redis.flushall()
    world.read(7)
    after_a_read = set(world.stores.redis.keys())
    world.stores.redis.flushall()
    explain(world.stores, 7, post_id)
    assert set(world.stores.redis.keys()) == after_a_read


@pytest.mark.parametrize(("viewer", "post"), [(77, True), (7, False)])
def test_an_unknown_viewer_or_post_is_not_found(world, viewer, post):
    post_id = pushed(world, [7])
    with pytest.raises(NotFound):
        explain(world.stores, viewer, post_id if post else 77)


# The time of a follow


def seconds(stores, follower, followee):
    query = sa.select(Follow.followed_at_seconds).where(
        Follow.follower_id == follower, Follow.followee_id == followee
    )
    with stores.sql.reading() as connection:
        return connection.scalar(query)


def is_now(at):
    return abs(dt.datetime.now(dt.UTC) - dt.datetime.fromtimestamp(at, dt.UTC)) < dt.timedelta(
        minutes=1
    )


def test_a_follow_records_its_time(world, explained):
    world.add_followers(9, [7])
    since = explained(7, world.post(9)).followed_since
    assert since.tzinfo is not None
    assert is_now(since.timestamp())


def test_an_imported_follow_records_its_time(stores):
    load.load_edges(stores, [(7, 9), (7, 9), (8, 9)])
    assert is_now(seconds(stores, 7, 9))
    assert is_now(seconds(stores, 8, 9))


def test_following_or_importing_again_does_not_change_the_time(world, explained):
    world.add_followers(9, [6, 7])
    at = {6: None, 7: 1_000_000_000}
    with world.stores.sql.writing() as connection:
        for follower, value in at.items():
            connection.execute(
                sa.update(Follow)
                .where(Follow.follower_id == follower)
                .values(followed_at_seconds=value)
            )
    for follower in at:
        follows.follow(world.stores, follower, 9)
    load.load_edges(world.stores, [(6, 9), (7, 9)])
    post_id = world.post(9)
    assert explained(7, post_id).followed_since == dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=dt.UTC)
    assert (explained(6, post_id).follows, explained(6, post_id).followed_since) == (True, None)


def migrated(database, revision):
    config = migrate._config()
    with database.writing() as connection:
        config.attributes["connection"] = connection
        getattr(command, "upgrade" if revision == "head" else "downgrade")(config, revision)


def edges(database):
    with database.reading() as connection:
        return (
            connection.execute(sa.text("SELECT * FROM follows ORDER BY follower_id"))
            .mappings()
            .all()
        )


def test_the_migration_keeps_every_follow_in_both_directions(database_url):
    database = Database(database_url)
    migrated(database, "0001")
    with database.writing() as connection:
        connection.execute(
            sa.text("INSERT INTO follows (followee_id, follower_id) VALUES (9, 6), (9, 7)")
        )
    old = edges(database)
    assert old == [{"followee_id": 9, "follower_id": 6}, {"followee_id": 9, "follower_id": 7}]
    migrated(database, "head")
    assert edges(database) == [{**row, "followed_at_seconds": None} for row in old]
    migrated(database, "0001")
    assert edges(database) == old
    database.close()


# Over HTTP and as a command


@pytest.fixture
def post(world):
    return pushed(world, [7, BIG])


def ask(client, headers, query):
    return client.get(f"/v1/admin/explain{query}", headers=headers)


@pytest.mark.parametrize("scope", ["admin:read", "admin:write"])
def test_an_admin_scope_may_ask_for_an_explanation(client, auth, post, scope):
    answer = ask(client, auth(1, scope), f"?viewer={BIG}&post={post}")
    assert answer.status_code == 200
    assert answer.json["why"] == read_from(
        "the home feed", "batch 1 of the fan-out pushed it there"
    )
    assert (answer.json["viewer"], answer.json["post_id"], answer.json["author_id"]) == (
        str(BIG),
        str(post),
        "9",
    )
    assert answer.json["followed_since"].endswith("Z")
    assert answer.json["home"] == {"state": "valid", "floor": "0", "holds_post": True}
    assert answer.json["fanout"] == {"state": "done", "batch": 1, "batches": 1, "has_passed": True}


def test_other_scopes_may_not_ask_for_an_explanation(client, auth, post):
    assert is_problem(ask(client, {}, f"?viewer=7&post={post}"), 401)
    assert is_problem(ask(client, auth(7, "feed service"), "?viewer=x"), 403)


def test_an_unknown_viewer_or_post_is_a_404(client, auth, post):
    for query in (f"?viewer=77&post={post}", "?viewer=7&post=77"):
        assert is_problem(ask(client, auth(1, "admin:read"), query), 404)


@pytest.mark.parametrize("bad", [*BAD_IDS, "", "me"])
def test_a_parameter_that_is_not_an_id_is_named(client, auth, bad):
    assert is_problem(
        ask(client, auth(1, "admin:read"), f"?viewer={bad}&post=1"), 422, "query", "viewer"
    )
    assert is_problem(
        ask(client, auth(1, "admin:read"), f"?viewer=1&post={bad}"), 422, "query", "post"
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "viewer"), ("?viewer=1", "post"), ("?viewer=1&viewer=1&post=1", "viewer"), ("?x=1", "x")],
)
def test_a_query_of_the_wrong_shape_is_named(client, auth, query, field):
    assert is_problem(ask(client, auth(1, "admin:read"), query), 422, "query", field)


def test_the_answer_has_the_fields_of_the_openapi_document(client, auth, post):
    document = client.get("/openapi.json").json["components"]["schemas"]
    answer = ask(client, auth(1, "admin:read"), f"?viewer=7&post={post}").json
    described = document["Explanation"]["properties"]
    assert described.keys() == answer.keys()
    assert all(
        "example" in fact
        for name, fact in described.items()
        if name not in {"fanout", "home", "celebrity_list"}
    )


def halves(line):
    name, _, value = line.partition("  ")
    return name, value.strip()


def test_the_command_prints_the_sentence_and_then_one_line_for_each_fact(run, post):
    code, out, _ = run("feed", "explain", "7", str(post))
    sentence, *facts = out.splitlines()
    assert (code, sentence) == (
        0,
        read_from("the home feed", "batch 1 of the fan-out pushed it there"),
    )
    assert len({len(line) - len(halves(line)[1]) for line in facts}) == 1, "aligned"
    assert {
        "in feed": "yes",
        "hidden by": "-",
        "fanout": "state done, batch 1, batches 1, has passed yes",
        "home": "state valid, floor 0, holds post yes",
    }.items() <= dict(map(halves, facts)).items()
    assert not any("None" in line or "True" in line for line in facts)


def test_the_command_prints_json(run, post):
    code, out, _ = run("feed", "explain", "7", str(post), "--json")
    assert (code, json.loads(out)["source"], json.loads(out)["celebrity_list"]["holds_post"]) == (
        0,
        "home feed",
        False,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("7",), 2), (("x", "1"), 2), (("0", "1"), 2), (("7", "77"), 1), (("77", "1"), 1)],
)
def test_the_command_prints_one_line_for_an_error(run, world, words, expected):
    world.people(7)
    code, out, err = run("feed", "explain", *words)
    assert (code, out) == (expected, "")
    assert test_cli.is_one_line(err)
