"""Loading many follows: into a temporary table first, then into the graph, in one transaction.

The transaction adds a flush to the outbox, so every view in Redis is rebuilt afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.store.sql import clock
from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from feedsvc.store import Stores

Edge = tuple[int, int]

_CHUNK_ROWS = 50_000

_USABLE = """
    NOT EXISTS (SELECT 1 FROM blocks b
                WHERE (b.account_id = i.follower AND b.blocked_id = i.followee)
                   OR (b.account_id = i.followee AND b.blocked_id = i.follower))
    AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id IN (i.follower, i.followee) AND a.deleting)
"""
_ACCOUNTS = """
    INSERT INTO accounts (id)
    SELECT id FROM named UNION SELECT follower FROM incoming UNION SELECT followee FROM incoming
    ORDER BY 1
    ON CONFLICT DO NOTHING
"""
_INCOMING = sa.table("incoming", sa.column("follower"), sa.column("followee"))
_ENDS = sa.union(sa.select(_INCOMING.c.follower), sa.select(_INCOMING.c.followee))
_LOADED = sa.select(Account.id).where(Account.id.in_(_ENDS)).order_by(Account.id)
# The shared lock waits for follows, blocks and deletions, but not for uploads. The second lock also
# waits for uploads and other loads, because the accounts are written next.
_LOCK_SHARED = _LOADED.with_for_update(read=True, key_share=True)
_LOCK = _LOADED.with_for_update(key_share=True)
_FOLLOWS = f"""
    INSERT INTO follows (followee_id, follower_id, followed_at_seconds)
    SELECT followee, follower, CAST(:at AS BIGINT) FROM incoming i WHERE {_USABLE} ORDER BY 1, 2
    ON CONFLICT DO NOTHING
"""  # noqa: S608 -- no input
_COUNTS = """
    UPDATE accounts SET {count} = counted.edges
    FROM (SELECT {mine} AS account, count(*) AS edges FROM follows
          WHERE {mine} IN (SELECT {staged} FROM incoming) GROUP BY {mine}) AS counted
    WHERE accounts.id = counted.account
"""
_REFUSED = f"""
    SELECT count(*) FROM (SELECT DISTINCT follower, followee FROM incoming) i WHERE NOT ({_USABLE})
"""  # noqa: S608 -- no input


@dataclass(frozen=True)
class Loaded:
    """The counts of a load. `refused`: one account blocks the other, or is being deleted."""

    edges: int
    accounts_created: int
    follows_created: int
    refused: int


def load_edges(stores: Stores, edges: Iterable[Edge], accounts: Iterable[int] = ()) -> Loaded:
    """Add edges (follower, followee), the accounts at their ends, and `accounts`.

    Rows that exist already are left as they are. If `edges` raises an error, nothing is added.
    """
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        _create_temporary(stores, connection, "named (id BIGINT)")
        _create_temporary(stores, connection, "incoming (follower BIGINT, followee BIGINT)")
        for ids in _chunks((account,) for account in accounts):
            _insert_rows(stores, connection, "named", ("id",), ids)
        found = 0
        for chunk in _chunks(edges):
            _insert_rows(stores, connection, "incoming", ("follower", "followee"), chunk)
            found += len(chunk)
        created = connection.execute(sa.text(_ACCOUNTS)).rowcount
        _lock(stores, connection, _LOCK_SHARED)
        refused = connection.scalar(sa.text(_REFUSED))
        at = {"at": clock.ms(connection) // 1000}
        follows = connection.execute(sa.text(_FOLLOWS), at).rowcount
        # Of two loads at once, the later one counts the follows of both.
        _lock(stores, connection, _LOCK)
        for count, mine, staged in (
            ("follower_count", "followee_id", "followee"),
            ("following_count", "follower_id", "follower"),
        ):
            connection.execute(sa.text(_COUNTS.format(count=count, mine=mine, staged=staged)))
        for table in ("named", "incoming"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        transaction.add(outbox.Flush())
    return Loaded(found, created, follows, refused or 0)


def _lock(stores: Stores, connection: Connection, accounts: sa.Select[int]) -> None:
    """Lock accounts, and see every earlier change of them. SQLite has one writer anyway."""
    if not stores.sql.is_sqlite:
        connection.execute(sa.select(sa.func.count()).select_from(accounts.subquery()))


def _create_temporary(stores: Stores, connection: Connection, table: str) -> None:
    on_commit = "" if stores.sql.is_sqlite else "ON COMMIT DROP"
    connection.execute(sa.text(f"CREATE TEMPORARY TABLE {table} {on_commit}"))


def _insert_rows(
    stores: Stores,
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: list[tuple[int, ...]],
) -> None:
    """Insert rows into a temporary table, in the fastest way that the driver has."""
    names = ", ".join(columns)
    driver = connection.connection.driver_connection
    assert driver is not None, "a transaction has a connection"
    if stores.sql.is_sqlite:
        driver.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
            rows,
        )
        return
    text = "\n".join("\t".join(map(str, row)) for row in rows) + "\n"
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        copy.write(text)


def _chunks(rows: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    source = iter(rows)
    while chunk := list(islice(source, _CHUNK_ROWS)):
        yield chunk
