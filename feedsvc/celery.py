"""The Celery application that `celery -A feedsvc.celery` finds, with settings of the environment.

The stores are opened by the first task that a process runs. So `celery inspect`, beat, Flower and
the parent of a prefork pool hold no connection to them.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from feedsvc import logs
from feedsvc.metrics import Metrics
from feedsvc.services import located, stores_at
from feedsvc.settings import load_settings
from feedsvc.tasks import make_celery

if TYPE_CHECKING:
    from feedsvc.store import Stores

logs.configure_inside_host()
_settings = load_settings()
_valkey, _addresses = located(_settings)
_opening = threading.Lock()


def _stores() -> Stores:
    with _opening:
        return _opened_stores()


@cache
def _opened_stores() -> Stores:
    return stores_at(_settings, _addresses)


app = make_celery(_addresses.broker, _stores, Metrics())
