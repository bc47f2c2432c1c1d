"""Tell a database that cannot answer from a statement that is wrong. Pure, for both engines.

The SQLSTATE codes are in appendix A of PostgreSQL's manual. The result codes of SQLite are at
sqlite.org/rescode.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable

# A repeated request succeeds later, perhaps after an operator has acted.
_UNAVAILABLE = (
    "08",  # connection exceptions; PgBouncer reports its own faults as 08P01
    "25006",  # read-only: a standby, or a primary before or after a failover
    "25P",  # a transaction that the server has ended because it was idle or too long
    "40",  # serialization failures, deadlocks, conflicts with the recovery of a standby
    "42501",  # no rights on a table or a schema
    "53",  # disk full, out of memory, too many connections
    "55P03",  # a lock was not free in time
    "57",  # shut down, starting up, query cancelled, statement time-out
    "58",  # input or output error
)
# The server has changed its role or is shutting down. Every connection of the pool is replaced,
# because the idle connections lead to this server too.
_DROPPING = ("08", "25006", "25P", "57P", "58")
# Mistakes of this service in class 25P: no transaction, or a statement after a failed one.
_WRONG_STATEMENT = ("25P01", "25P02")

# libpq gives no code for an error while it connects. A server in another language is not
# recognised: then its refusal counts as an absence.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "does not support SSL",
    "file is not a database",
    "no pg_hba.conf entry",
    "no such database",  # PgBouncer
    "no such user",
    "not permitted to log in",
    "permission denied",
    "unable to open database file",
)

_SQLITE_UNAVAILABLE = frozenset(
    {"BUSY", "CANTOPEN", "CORRUPT", "FULL", "IOERR", "LOCKED", "NOMEM", "NOTADB"}
    | {"PERM", "PROTOCOL", "READONLY"}
)
_SQLITE_DROPPING = _SQLITE_UNAVAILABLE - {"BUSY", "FULL", "LOCKED", "NOMEM"}


def cause_of(error: SQLAlchemyError, secrets: Iterable[str] = ()) -> str | None:
    """Return in one line why the database cannot answer; None if the statement is wrong.

    `secrets` are left out of the line.
    """
    if isinstance(error, PoolTimeout):
        return "no connection of the pool became free in time"
    if not isinstance(error, DBAPIError) or not _is_unavailable(error):
        return None
    return one_line(error, secrets)


def is_refusal(cause: str) -> bool:
    """Return whether the database will go on refusing, as far as its `cause_of` an error tells."""
    return any(words in cause for words in _REFUSALS)


def one_line(error: SQLAlchemyError, secrets: Iterable[str] = ()) -> str:
    """Return the driver's message in one line, without the statement and the secrets."""
    original = error.orig if isinstance(error, DBAPIError) else error
    text = " ".join(str(original).split())
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text or type(original).__name__


def drops_connections(original: BaseException | None) -> bool:
    """Return whether a driver's error means that pooled connections must not be used again."""
    result = _sqlite_result(original)
    if result is not None:
        return result in _SQLITE_DROPPING
    state = _sqlstate(original)
    return state.startswith(_DROPPING) and state not in _WRONG_STATEMENT


def _is_unavailable(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    original = error.orig
    result = _sqlite_result(original)
    if result is not None:
        return result in _SQLITE_UNAVAILABLE
    state = _sqlstate(original)
    if state:
        return state.startswith(_UNAVAILABLE) and state not in _WRONG_STATEMENT
    # The driver's own errors: it cannot connect, has lost the connection, or has waited too long.
    return isinstance(error, OperationalError | InterfaceError)


def _sqlstate(original: BaseException | None) -> str:
    """Return PostgreSQL's code of an error; empty if the error does not come from a server."""
    return getattr(original, "sqlstate", None) or ""


def _sqlite_result(original: BaseException | None) -> str | None:
    """Return SQLite's primary result code, like `BUSY` for `SQLITE_BUSY_SNAPSHOT`."""
    name = getattr(original, "sqlite_errorname", None)
    return None if name is None else str(name).removeprefix("SQLITE_").partition("_")[0]
