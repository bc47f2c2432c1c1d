"""A hybrid fan-out-on-write / fan-out-on-read home feed service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feedsvc.version import __version__

if TYPE_CHECKING:
    from feedsvc.app import Application

__all__ = ["__version__", "create_app"]


def create_app(**settings: Any) -> Application:
    """Return the Flask application of `feedsvc.app.create_app`.

    The import waits for the first call, because commands need no web framework.
    """
    from feedsvc.app import create_app as create  # noqa: PLC0415 -- see above

    return create(**settings)
