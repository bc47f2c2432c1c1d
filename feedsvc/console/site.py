"""Gather the console's pages. Check sessions, set security headers, show errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for

from feedsvc import formats
from feedsvc.api import problems
from feedsvc.api.problems import Unauthorized
from feedsvc.console import accounts, forms, record, session, sign_in, threshold
from feedsvc.errors import Forbidden
from feedsvc.version import __version__

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

_PARTS = (
    sign_in.pages,
    threshold.pages,
    record.pages,
    accounts.pages,
    accounts.explanations,
)
# Endpoints that need no session.
_OPEN = {"console.static", "console.signing_in.page", "console.signing_in.sign_in"}
_FILTERS = (
    formats.number,
    formats.size,
    formats.duration,
    formats.signed,
    formats.moment,
    formats.counted,
)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def make_site() -> Blueprint:
    """Return all pages of the console, under `/console`."""
    site = Blueprint(
        "console",
        __name__,
        url_prefix=session.PATH,
        template_folder="templates",
        static_folder="static",
    )
    site.before_request(_admit)
    site.after_request(_harden)
    site.context_processor(_template_values)
    site.register_error_handler(Exception, _show_error)
    for filter_ in _FILTERS:
        site.add_app_template_filter(filter_)
    for part in _PARTS:
        site.register_blueprint(part)
    return site


def _admit() -> AnyResponse | None:
    """Require a session; for a change, also a form of this console and the right to change."""
    g.session = sign_in.read(request, sign_in.secret())
    is_change = request.method not in ("GET", "HEAD", "OPTIONS")
    if is_change:
        forms.require_own_page(request, None if request.endpoint in _OPEN else g.session)
    if request.endpoint in _OPEN:
        return None
    if g.session is None:
        if _wants_data():
            raise Unauthorized(
                "Your session has ended. Load this page again to sign in.", given=False
            )
        return redirect(url_for("console.signing_in.page"), 303)
    if is_change and not g.session.may_write and request.endpoint != "console.signing_in.sign_out":
        raise Forbidden(
            "Your session may read, but not change anything. "
            "Sign in with a token that has the scope admin:write."
        )
    return None


def _harden(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.endpoint != "console.static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _template_values() -> dict[str, Any]:
    return {
        "session": g.get("session"),
        "csrf": forms.csrf_field,
        "compared": record.compared,
        "measured_seconds": record.measured_seconds,
        "version": __version__,
    }


def _show_error(error: Exception) -> Response:
    """Answer with the API's message: as a problem to a script, as a page to a person."""
    answer = problems.answer_to(error)
    if _wants_data():
        return answer
    page = make_response(
        render_template("console/problem.html", problem=answer.get_json()), answer.status_code
    )
    page.headers.extend(
        {name: value for name, value in answer.headers.items() if name in ("Retry-After", "Allow")}
    )
    return page


def _wants_data() -> bool:
    return request.accept_mimetypes.best == "application/json"
