"""Check the URLs of the database and of the broker. `redis_address` reads the URL of Redis.

No function here connects. A function raises `ValueError` for a URL that it refuses. The message
says which URLs are accepted, and never repeats the URL, because it may hold a password.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from feedsvc import redis_address

_DATABASE = "postgresql://user@host/name or sqlite:////path/to/file"
_BROKER = (
    "amqp://user@host/vhost, amqps://host, redis://host:6379/1, rediss://host "
    "or redis+socket:///path?virtual_host=1"
)
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
_REDIS_SCHEMES = ("redis", "rediss")


def complete_database(text: str) -> str:
    """Return the database URL. A PostgreSQL URL without a driver gets the driver psycopg."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is not a database URL, like {_DATABASE}") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"must be of PostgreSQL or SQLite, like {_DATABASE}")
    if url.get_backend_name() == "sqlite":
        _check_sqlite(url)
    else:
        _check_postgresql(url)
    return url.render_as_string(hide_password=False)


def _check_sqlite(url: URL) -> None:
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ValueError(f"needs a driver that the service does not use: {url.drivername}")
    if url.database in (None, "", ":memory:"):
        # Each connection would get a database of its own.
        raise ValueError("must name a file, like sqlite:////path/to/file")
    if url.query and "uri" not in url.query:
        raise ValueError(f"has options that SQLite does not take: {', '.join(sorted(url.query))}")


def _check_postgresql(url: URL) -> None:
    """Refuse other drivers than psycopg, and options that psycopg does not accept."""
    if url.drivername != "postgresql+psycopg":
        raise ValueError(
            f"needs a driver that the service does not use: {url.drivername}; "
            "use postgresql+psycopg"
        )
    try:
        import psycopg.conninfo  # noqa: PLC0415 -- SQLite needs no driver
    except ImportError:
        raise ValueError("needs the driver psycopg, which is not installed") from None
    options = dict(url.query)
    numbers = (options.pop("prepare_threshold", "0"), options.get("connect_timeout", "0"))
    if not all(isinstance(number, str) and number.isdecimal() for number in numbers):
        raise ValueError("takes prepare_threshold and connect_timeout as whole numbers")
    try:
        psycopg.conninfo.make_conninfo("", **options)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise ValueError(f"cannot be used: {str(error).strip()}") from None


def check_broker(text: str) -> None:
    """Refuse a URL that Celery cannot connect with. Several URLs are separated by `;`."""
    for part in text.split(";"):
        try:
            url = urlsplit(part)
            _ = url.port  # raises ValueError if it is no number
        except ValueError:
            raise ValueError(f"is not a broker URL, like {_BROKER}") from None
        if url.scheme in _AMQP_SCHEMES or (url.scheme == "redis+socket" and url.path):
            continue
        if url.scheme not in _REDIS_SCHEMES:
            raise ValueError(f"is not a broker URL, like {_BROKER}")
        if url.scheme == "rediss":
            redis_address.parse(part)
        if not _is_database_number(url.path):
            raise ValueError("must end with the number of a database, like redis://host:6379/1")


def _is_database_number(path: str) -> bool:
    number = unquote(path).strip("/")
    return not number or (number.isascii() and number.isdigit())
