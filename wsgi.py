"""The module that a WSGI server loads in a checkout. It has the application of `feedsvc.wsgi`."""

from feedsvc.wsgi import app

__all__ = ["app"]
