"""Build the service's URLs as clients see them: behind proxies, under a prefix, or mounted.

A URL in an answer is relative to the root of the host, unless `FEEDSVC_PUBLIC_URL` or a trusted
proxy names the host. A client can send any `Host`, so the header never reaches an answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import request
from werkzeug.http import parse_list_header
from werkzeug.middleware.proxy_fix import ProxyFix

from feedsvc.api.problems import BadRequest
from feedsvc.formats import is_host, is_path_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from feedsvc.settings import Settings

# Keys of the WSGI environment: the base URL, and the fault of a proxy's headers.
_BASE = "feedsvc.base"
_FAULT = "feedsvc.fault"
# The first segments of the service's own paths. The proxy must remove a prefix that begins with one
# of them: `/v1/feed` could be the path of the feed, or a path under the prefix `/v1`.
_OWN = frozenset(("v1", "console", "docs", "openapi.json", "healthz", "readyz", "metrics"))


def address(path: str) -> str:
    """Return the URL of a path of the service, as this request's client reaches it."""
    base = request.environ.get(_BASE)
    return (quote(request.root_path) if base is None else str(base)) + path


def require_host() -> None:
    """Raise `BadRequest` unless the request has exactly one valid `Host`."""
    fault = request.environ.get(_FAULT)
    if fault is None and not is_host(request.environ.get("HTTP_HOST", "")):
        fault = "Send the header Host once, with a host and, if needed, a port."
    if fault is not None:
        raise BadRequest(fault)


def with_client_urls(app: WSGIApplication, settings: Settings) -> WSGIApplication:
    """Wrap the application, so that each request has the scheme, host and prefix of its client.

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
    """Check the values that `ProxyFix` took from the proxies' headers, and set the base URL."""
    sent = environ["werkzeug.proxy_fix.orig"]
    prefix = _whole_prefix(sent["SCRIPT_NAME"] or "", environ["SCRIPT_NAME"])
    if environ["wsgi.url_scheme"] not in ("http", "https"):
        environ[_FAULT] = "A proxy sent an X-Forwarded-Proto that is neither http nor https."
    if not is_path_prefix(prefix):
        environ[_FAULT] = "A proxy sent an X-Forwarded-Prefix that is no path, like /feeds."
        prefix = ""
    if not is_host(sent["HTTP_HOST"] or ""):
        environ["HTTP_HOST"] = ""
    _set_prefix(environ, prefix)
    hosts = parse_list_header(environ.get("HTTP_X_FORWARDED_HOST", ""))
    if len(hosts) >= trusted:
        environ[_BASE] = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}{prefix}"
    return app(environ, start_response)


def _whole_prefix(mounted: str, forwarded: str) -> str:
    """Join the prefix of a proxy with the prefix under which an outer application mounts this one.

    If the outer application trusts the proxy too, `mounted` begins with the proxy's prefix already.
    """
    forwarded = forwarded.rstrip("/")
    if f"{mounted}/".startswith(f"{forwarded}/"):
        return mounted
    return forwarded + mounted


def _set_prefix(environ: WSGIEnvironment, prefix: str) -> None:
    """Remove the prefix from the path, unless a proxy or a mount has removed it."""
    environ["SCRIPT_NAME"] = prefix
    path = environ.get("PATH_INFO", "")
    has_prefix = prefix and f"{path}/".startswith(f"{prefix}/")
    if has_prefix and prefix.split("/")[1] not in _OWN:
        environ["PATH_INFO"] = path[len(prefix) :]
