"""What a WSGI server loads in a checkout: the application of `feedsvc.wsgi`."""

from feedsvc.wsgi import app

__all__ = ["app"]
