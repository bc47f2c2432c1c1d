"""The addresses of the service as clients see them: behind proxies, under a prefix, or mounted.

An address in an answer is relative to the root of the host, unless `FEEDSVC_PUBLIC_URL` or a
trusted proxy names the host. Anybody can send any `Host`, so it never reaches an answer.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import request
from werkzeug.http import parse_list_header
from werkzeug.middleware.proxy_fix import ProxyFix

from feedsvc.api.problems import BadRequest
from feedsvc.formats import is_host

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from feedsvc.settings import Settings

_BASE = "feedsvc.base"
_FAULT = "feedsvc.fault"
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
# The first names of the service's own paths. A prefix that begins with one of them must be removed
# by the proxy, because it cannot be told from a path.
_OWN = frozenset(("v1", "console", "docs", "openapi.json", "healthz", "readyz", "metrics"))


def address(path: str) -> str:
    """Return the address of a path of the service for the client of this request."""
    base = request.environ.get(_BASE)
    return (quote(request.root_path) if base is None else str(base)) + path


def require_host() -> None:
    """Refuse a request without one usable `Host`. Raises `BadRequest`."""
    fault = request.environ.get(_FAULT)
    if fault is None and not is_host(request.environ.get("HTTP_HOST", "")):
        fault = "Send the header Host once, with a host and, if needed, a port."
    if fault is not None:
        raise BadRequest(fault)


def as_clients_see_it(app: WSGIApplication, settings: Settings) -> WSGIApplication:
    """Return the application, wrapped so that each request has the address that its client used.

    A proxy may send the path with the prefix or without it.
    """
    trusted = settings.trusted_proxies
    if settings.public_url is not None:
        app = partial(_by_public_url, app, settings.public_url)
    elif trusted:
        app = partial(_by_proxies, app, trusted)
    if trusted:
        return ProxyFix(app, x_for=trusted, x_proto=trusted, x_host=trusted, x_prefix=trusted)
    return app


def _by_public_url(
    app: WSGIApplication, url: str, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if is_host(environ.get("HTTP_HOST", "")):
        environ["HTTP_HOST"] = host
    environ["wsgi.url_scheme"] = scheme
    environ[_BASE] = url
    _set_prefix(environ, slash + path)
    return app(environ, start_response)


def _by_proxies(
    app: WSGIApplication, trusted: int, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Judge what `ProxyFix` has taken from the proxies' headers."""
    sent = environ["werkzeug.proxy_fix.orig"]
    prefix = _prefix(sent["SCRIPT_NAME"] or "", environ["SCRIPT_NAME"])
    if environ["wsgi.url_scheme"] not in ("http", "https"):
        environ[_FAULT] = "A proxy sent an X-Forwarded-Proto that is neither http nor https."
    if not _PREFIX.fullmatch(prefix):
        environ[_FAULT] = "A proxy sent an X-Forwarded-Prefix that is no path, like /feeds."
        prefix = ""
    if not is_host(sent["HTTP_HOST"] or ""):
        environ["HTTP_HOST"] = ""
    _set_prefix(environ, prefix)
    hosts = parse_list_header(environ.get("HTTP_X_FORWARDED_HOST", ""))
    if len(hosts) >= trusted:
        environ[_BASE] = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}{prefix}"
    return app(environ, start_response)


def _prefix(mounted: str, forwarded: str) -> str:
    """Return the whole prefix of an application that is mounted in another one behind a proxy.

    Where the other application believes the proxy too, the mount has the proxy's prefix already.
    """
    forwarded = forwarded.rstrip("/")
    if f"{mounted}/".startswith(f"{forwarded}/"):
        return mounted
    return forwarded + mounted


def _set_prefix(environ: WSGIEnvironment, prefix: str) -> None:
    """Take the prefix off the path, unless a proxy or a mount has taken it off."""
    environ["SCRIPT_NAME"] = prefix
    path = environ.get("PATH_INFO", "")
    is_there = prefix and f"{path}/".startswith(f"{prefix}/")
    if is_there and prefix.split("/")[1] not in _OWN:
        environ["PATH_INFO"] = path[len(prefix) :]
