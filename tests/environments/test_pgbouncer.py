"""PgBouncer 1.18 in transaction mode: each transaction may get another server connection."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial

import psycopg
import pytest

from feedsvc import create_app
from feedsvc.graph import followers
from feedsvc.graph.load import load_edges
from tests.environments.calls import call, migrated, together, upload
from tests.environments.servers import PgBouncer

POOL = 4


@pytest.fixture(scope="module")
def pgbouncer(postgresql):
    with closing(PgBouncer(postgresql, POOL)) as server:
        yield server


@pytest.fixture
def database_url(postgresql, database, pgbouncer):
    return migrated(postgresql.url(database, pgbouncer.port))


def test_uploads_and_reads_from_many_threads_all_succeed(app, auth, database, pgbouncer):
    services = app.extensions["feedsvc"]
    owners = range(1, 9)
    for owner in owners:
        assert call(app, "PUT", f"/v1/accounts/{owner}", auth(owner)).status == 201
    edges = [
        ("PUT", f"/v1/accounts/me/following/{followee}", auth(owner))
        for owner in owners
        for followee in owners
        if owner != followee
    ]
    calls = [partial(call, app, *edge) for edge in edges]
    for _ in range(8):
        calls += [partial(upload, app, auth(owner)) for owner in owners]
        calls += [partial(read_cold, app, services.stores, owner, auth(owner)) for owner in owners]
        calls += [partial(call, app, "GET", "/v1/accounts/me", auth(owner)) for owner in owners]
    answers = together(calls)
    assert {answer.status for answer in answers} <= {200, 201, 204}, answers
    assert len(calls) == 56 + 8 * 24
    assert jit_of_every_server_connection(database, pgbouncer) == {"on"}


def read_cold(app, stores, owner, headers):
    """Read a feed that SQL has to fill."""
    stores.redis.delete(stores.keys.homefeed(owner))
    return call(app, "GET", "/v1/feed", headers)


def jit_of_every_server_connection(database, pgbouncer):
    """Return the values of a setting that a session-wide SET would have left to other clients."""
    url = f"host=127.0.0.1 port={pgbouncer.port} user=root dbname={database}"
    with ExitStack() as stack:
        found = set()
        for _ in range(POOL):
            connection = stack.enter_context(psycopg.connect(url, prepare_threshold=None))
            found.add(connection.execute("SHOW jit").fetchone()[0])  # the transaction stays open
        return found


def test_a_graph_is_copied_and_streamed(stores):
    """COPY, temporary tables and cursors of the server stay in their transaction."""
    edges = {(follower, followee) for follower in range(1, 40) for followee in range(40, 60)}
    assert load_edges(stores, sorted(edges)).edges == len(edges)
    with stores.sql.reading() as connection:
        joined = dict(followers.of_all(stores, connection))
    assert {
        (int(follower), followee)
        for followee, text in joined.items()
        for follower in text.split(",")
    } == edges


@pytest.mark.parametrize("threshold", [0, 5])
def test_an_option_in_the_url_works_too(settings, auth, threshold):
    url = f"{settings['database_url']}?prepare_threshold={threshold}"
    with closing(create_app(**{**settings, "database_url": url})) as app:
        call(app, "PUT", "/v1/accounts/9", auth(9))
        answers = together([partial(upload, app, auth(9)) for _ in range(40)])
    assert {answer.status for answer in answers} == {201}
