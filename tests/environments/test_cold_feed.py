"""A cold feed reads a bounded number of posts on PostgreSQL, however unevenly its authors post."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa

from feedsvc.cache import feed_queries
from feedsvc.formats import MAX_ID
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from feedsvc.store.sql.migrate import upgrade
from tests.environments.servers import PostgreSQL

_FOLLOWEES = (1, 5, 11, 24, 25, 100, 500)
_CAP = 800
# The author who posts half of everything, long ago; its followers read past it.
_RETIRED = 1_501
_POSTS = 600_000

# Half of all posts are by eleven authors, one of them by far the busiest. Hundreds of authors have
# a few hundred posts, which PostgreSQL takes for the number of everybody's.
_INSERT = f"""
    INSERT INTO posts (id, author_id, photo_url, description, route, policy_version)
    SELECT CAST(n AS bigint) << 24,
           CASE WHEN n < {_POSTS // 10} THEN {_RETIRED}
                WHEN h < 0.45 THEN 1 + floor(11 * power(r, 3))
                ELSE 12 + floor(1489 * power(r, 4)) END,
           'https://img.example/1.jpg', 'A photo', CASE WHEN h < 0.9 THEN 'push' ELSE 'pull' END, 1
    FROM (SELECT n, random() AS h, random() AS r FROM generate_series(1, {_POSTS}) n OFFSET 0) AS x
"""
_FOLLOWS = """
    INSERT INTO follows (follower_id, followee_id)
    SELECT :viewer, n FROM generate_series(1, CAST(:followees AS int)) n
"""


@pytest.fixture(scope="module")
def stores():
    with closing(PostgreSQL()) as server:
        nowhere = "redis://127.0.0.1:1"  # the queries of feeds use the database only
        made = open_stores(load_settings({}), database_url=server.url(), redis_url=nowhere)
        upgrade(made.sql)
        with made.sql.writing() as connection:
            connection.execute(sa.text("INSERT INTO accounts (id) SELECT generate_series(1, 1501)"))
            connection.execute(sa.text(_INSERT))
            for followees in _FOLLOWEES:
                values = {"viewer": _viewer(followees), "followees": followees}
                connection.execute(sa.text(_FOLLOWS), values)
        server.execute("ANALYZE")
        yield made
        made.close()


@pytest.mark.parametrize("followees", _FOLLOWEES)
def test_a_rebuild_reads_few_posts(stores, followees):
    read = _posts_read(stores, feed_queries.pushed, _viewer(followees), _CAP + 1)
    # At most 25 authors can have more than 32 posts among the newest 801 of what a pass finds.
    assert read < 26 * (_CAP + 1) * 1.2 + 40 * followees


@pytest.mark.parametrize("order", ["newest first", "oldest first"])
@pytest.mark.parametrize("followees", _FOLLOWEES)
def test_a_page_below_the_horizon_reads_few_posts(stores, followees, order):
    bounds = {"above": _id(_POSTS // 8), "below": _id(_POSTS // 2), "order": order}
    read = _posts_read(stores, feed_queries.seen, _viewer(followees), count=_CAP, **bounds)
    assert read < 26 * _CAP * 1.2 + 40 * followees


@pytest.mark.parametrize("author", [1, 12, 500, _RETIRED, 1_999])
def test_a_profile_and_a_celebrity_list_read_few_posts(stores, author):
    bounds = {"above": 0, "below": MAX_ID, "order": "newest first"}
    assert _posts_read(stores, feed_queries.by_author, author, count=100, **bounds) <= 100
    assert _posts_read(stores, feed_queries.listed, author, _CAP + 1) <= _CAP + 1


@pytest.mark.parametrize("authors", [3, 10, 50, 100_000])
def test_a_rebuild_reads_few_posts_whatever_the_statistics_say(stores, authors):
    with stores.sql.writing() as connection:
        guess = f"ALTER TABLE posts ALTER author_id SET (n_distinct = {authors})"
        connection.execute(sa.text(guess))
        connection.execute(sa.text("ANALYZE posts (author_id)"))
    read = _posts_read(stores, feed_queries.pushed, _viewer(11), _CAP + 1)
    assert read < 12 * (_CAP + 1) * 1.2 + 40 * 12
    assert _posts_read(stores, feed_queries.listed, 1, _CAP + 1) <= _CAP + 1


def _posts_read(stores, query, *args, **more):
    """Return how many rows of posts a query has read, as PostgreSQL counts them."""
    sa.event.listen(stores.sql.engine, "before_cursor_execute", _explain, retval=True)
    try:
        for _ in range(7):  # from the sixth run on PostgreSQL may plan for unknown parameters
            with stores.sql.reading() as connection:
                [[answer]] = query(stores, connection, *args, **more)
    finally:
        sa.event.remove(stores.sql.engine, "before_cursor_execute", _explain)
    return sum(map(_rows_of_posts, _nodes(answer["Plan"])))


def _explain(_connection, _cursor, statement, parameters, _context, _executemany):
    is_query = statement.startswith(("SELECT", "WITH")) and "set_config" not in statement
    return (f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}" if is_query else statement), parameters


def _nodes(plan):
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


def _rows_of_posts(node):
    if node.get("Relation Name") != "posts":
        return 0
    filtered = node.get("Rows Removed by Filter", 0)
    return (node["Actual Rows"] + filtered) * node["Actual Loops"]


def _viewer(followees):
    return 2_000 + followees


def _id(number):
    return number << 24
