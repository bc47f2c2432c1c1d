"""Post ids: ordered by time, and small enough for a double.

41 bits of milliseconds since the epoch of `feedsvc.views.bodies` and 12 bits that differ within one: below 2^53, exact as a number
in Lua and JavaScript and as a score. The time is the database's, so all processes draw from one clock.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING

from feedsvc.store.sql.database import clock_ms
from feedsvc.views.bodies import EPOCH_MS, ID_BITS_BELOW_MS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

_BELOW = (1 << ID_BITS_BELOW_MS) - 1

# Ids that one process draws within a millisecond ascend; two processes rarely agree, and the unique key settles it.
_sequence = itertools.count(secrets.randbelow(_BELOW))


def draw(stores: Stores, connection: Connection) -> int:
    """A fresh id, which may be taken: the insert tells."""
    ms = connection.scalar(clock_ms(stores.sql.is_sqlite))
    assert ms is not None
    return make(int(ms), next(_sequence))


def make(ms_since_1970: int, number: int) -> int:
    """The id of this millisecond with this number (its low 12 bits)."""
    return (ms_since_1970 - EPOCH_MS) << ID_BITS_BELOW_MS | number & _BELOW


def lowest_of(ms_since_1970: int) -> int:
    """The lowest id of a millisecond: posts made before it have lower ones."""
    return make(ms_since_1970, 0)
