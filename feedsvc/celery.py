"""The Celery application for `celery -A feedsvc.celery`, with the settings of the environment.

The first task that a process runs opens the stores. So `celery inspect`, beat, Flower and the
parent of a prefork pool hold no connection to the stores.
"""

from __future__ import annotations

import threading
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from feedsvc import logs
from feedsvc.errors import ends_process
from feedsvc.metrics import Metrics
from feedsvc.services import locate_stores, open_stores_at
from feedsvc.settings import load_settings
from feedsvc.store.redis.client import show_sign_of_life
from feedsvc.tasks import make_celery

if TYPE_CHECKING:
    from feedsvc.store import Stores

logs.configure_inside_host()
with ends_process(exit_code=1):
    _settings = load_settings()
    _valkey, _addresses = locate_stores(_settings)
_opening = threading.Lock()


def _stores() -> Stores:
    # Without the lock `cache` would let two threads open the stores twice.
    with _opening:
        return _opened_stores()


@cache
def _opened_stores() -> Stores:
    return open_stores_at(_settings, _addresses)


def check_stores() -> None:
    """Open the stores, write to Redis, and close them. Raises `FeedsvcError`."""
    with closing(open_stores_at(_settings, _addresses)) as stores:
        show_sign_of_life(stores.redis)


app = make_celery(_addresses.broker, _stores, Metrics())
