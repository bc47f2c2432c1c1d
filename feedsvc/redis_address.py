"""Read the URL of Redis, and derive the URL of the broker from it. Pure: connects to nothing.

    redis://[user:password@]host[:port][/database]     one server
    rediss://…                                         one server, with TLS
    unix://[user:password@]/path[?db=1]                one server, on a unix socket
    redis+cluster://[user:password@]host:port,…        a cluster, with TLS if an `ssl` option is set

Options stand behind `?`: `db`, `username`, `password`, and the options of TLS. In a part of a URL
the characters `# ? @ : / %` and spaces are written in percent-encoding.

Celery's client reads options in a URL as text, and trusts every certificate if a TLS URL has no
options. So the TLS options of a broker go into Celery's setting `broker_use_ssl`. They are read by
the rules for Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS

if TYPE_CHECKING:
    from collections.abc import Mapping

CLUSTER = "redis+cluster"
_PORT = 6379
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
)
# The client library ignores these options for a cluster.
_NOT_OF_CLUSTERS = ("ssl_ciphers", "ssl_min_version")
_CERT_REQS = ("none", "optional", "required")
_FORMS = (
    "redis://host:6379/0, rediss://host:6379/0, unix:///path?db=0 "
    "or redis+cluster://host:port,host:port"
)


class BadAddress(ValueError):
    """A URL that cannot be read. The message says why, without a secret."""


@dataclass(frozen=True)
class Address:
    """Where Redis is, and how a client logs in.

    `tls` has the keywords of the client library as they are in the URL; None without TLS. Either
    `nodes` (host, port) or `socket` (a path) is set. Only a cluster has several nodes.
    """

    scheme: str
    nodes: tuple[tuple[str, int], ...] = ()
    socket: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: Mapping[str, str] | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether this is a cluster."""
        return self.scheme == CLUSTER

    def tls_keywords(self) -> dict[str, Any]:
        """Return the TLS options as keywords of the client library, with their types."""
        return _typed(self.tls or {})

    def broker_url(self) -> str:
        """Return the URL of the next database of this server, as Celery's client reads it.

        The URL keeps every option. `celery_broker` takes the TLS options out again.
        """
        return self.celery_url(self.database + 1)

    def celery_url(self, database: int) -> str:
        """Return the URL of a database of this server, as Celery's client reads it."""
        login = _login(self)
        if self.socket:
            return f"redis+socket://{login}{quote(self.socket)}?virtual_host={database}"
        [(host, port)] = self.nodes
        shown = f"[{host}]" if ":" in host else quote(host)
        options = f"?{urlencode(self.tls)}" if self.tls else ""
        return f"{self.scheme}://{login}{shown}:{port}/{database}{options}"


def parse(url: str) -> Address:
    """Parse a URL. Raises `BadAddress`."""
    if "#" in url:
        raise BadAddress("has a #; write it as %23")
    rest, _, query = url.partition("?")
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        found = _cluster(rest, options) if rest.startswith(f"{CLUSTER}://") else _server(rest)
    except BadAddress:
        raise
    except ValueError:  # its message may contain a part of the password
        raise BadAddress(f"is not a Redis URL, like {_FORMS}") from None
    return _with_options(found, options)


def celery_broker(url: str) -> tuple[str, dict[str, Any] | None]:
    """Return a broker's URL without TLS options, and the value of `broker_use_ssl`.

    The value is None for a broker that is no Redis with TLS. Raises `BadAddress`.
    """
    parts = url.split(";")  # Celery goes from one server to the next
    if not parts[0].startswith("rediss://"):
        return url, None
    servers = list(map(parse, parts))
    urls = (replace(server, tls=None).celery_url(server.database) for server in servers)
    return ";".join(urls), {"ssl_cert_reqs": "required", **servers[0].tls_keywords()}


def _cluster(url: str, options: Mapping[str, str]) -> Address:
    user, _, nodes = url.removeprefix(f"{CLUSTER}://").rpartition("@")
    name, _, password = user.partition(":")
    return Address(
        CLUSTER,
        tuple(map(_node, nodes.rstrip("/").split(","))),
        username=unquote(name),
        password=unquote(password),
        tls={} if any(option.startswith("ssl") for option in options) else None,
    )


def _server(url: str) -> Address:
    parts = urlsplit(url)
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise BadAddress("names no socket, like unix:///path?db=0")
        return Address("unix", socket=unquote(parts.path), username=username, password=password)
    if parts.scheme not in ("redis", "rediss"):
        raise BadAddress(f"is not a Redis URL, like {_FORMS}")
    path = parts.path.strip("/")
    if path and not path.isdecimal():
        raise BadAddress("names no database by number, like redis://host:6379/0")
    return Address(
        parts.scheme,
        ((unquote(parts.hostname or "localhost"), parts.port or _PORT),),
        database=int(path or 0),
        username=username,
        password=password,
        tls={} if parts.scheme == "rediss" else None,
    )


def _node(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or not parts.port or parts.path:
        raise BadAddress("names a node without a port, like redis+cluster://host:7000,[::1]:7001")
    return parts.hostname, parts.port


def _with_options(found: Address, options: Mapping[str, str]) -> Address:
    """Return the address with the options behind `?`. Raises `BadAddress`."""
    accepted = _accepted_options(found)
    unknown = sorted(options.keys() - set(accepted))
    if unknown:
        if any(name in _TLS_OPTIONS for name in unknown):
            raise BadAddress(f"has {unknown[0]}, an option of TLS; use rediss://")
        raise BadAddress(f"has the option {unknown[0]}; accepted are {', '.join(accepted)}")
    database = options.get("db", str(found.database))
    if not database.isdecimal():
        raise BadAddress("has a db that is no number")
    changes: dict[str, Any] = {"database": int(database)}
    changes |= {name: options[name] for name in ("username", "password") if name in options}
    if found.tls is not None:
        changes["tls"] = {name: value for name, value in options.items() if name in _TLS_OPTIONS}
        _typed(changes["tls"])
    return replace(found, **changes)


def _accepted_options(found: Address) -> list[str]:
    tls: tuple[str, ...] = () if found.tls is None else _TLS_OPTIONS
    if found.is_cluster:
        tls = tuple(each for each in tls if each not in _NOT_OF_CLUSTERS)
        return ["username", "password", "ssl", *tls]
    return ["db", "username", "password", *tls]


def _typed(tls: Mapping[str, str]) -> dict[str, Any]:
    if tls.get("ssl_cert_reqs", "none").lower().removeprefix("cert_") not in _CERT_REQS:
        raise BadAddress(f"has a ssl_cert_reqs that is none of {', '.join(_CERT_REQS)}")
    typed: dict[str, Any] = {}
    parsers: Mapping[str, Any] = URL_QUERY_ARGUMENT_PARSERS
    for name, value in tls.items():
        try:
            typed[name] = parsers.get(name, str)(value)
        except (TypeError, ValueError):
            raise BadAddress(f"has a {name} that cannot be read") from None
    if "ssl_cert_reqs" in typed:
        typed["ssl_cert_reqs"] = typed["ssl_cert_reqs"].lower().removeprefix("cert_")
    return typed


def _login(address: Address) -> str:
    if not (address.username or address.password):
        return ""
    return f"{quote(address.username, safe='')}:{quote(address.password, safe='')}@"
