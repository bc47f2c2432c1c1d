"""How fast this machine is just now. On a shared one a processor's speed changes by a fifth from one ten seconds to the next.

A fixed piece of computing, in so little memory that it is in the processor's nearest cache whatever ran before. What is measured in one
period and what is predicted from another are compared at one speed, by what that piece took in each.
"""

from __future__ import annotations

import json
import random
import time
from statistics import mean

_TEXTS, _COUNTED = 200, 5


class Speed:
    """Seconds that the piece of work took, every time since they were last asked for."""

    def __init__(self) -> None:
        """Work for a tenth of a millisecond or so."""
        source = random.Random(1)
        self._texts = [str(source.getrandbits(62)) for _ in range(_TEXTS)]
        self._taken: list[float] = []

    def sample(self) -> float:
        """Do it a few times. The first is not counted: it fetches what it needs into the cache. Returns the seconds that all took."""
        began = time.process_time()
        self._work()
        counted_from = time.process_time()
        for _ in range(_COUNTED):
            self._work()
        ended = time.process_time()
        self._taken.append((ended - counted_from) / _COUNTED)
        return ended - began

    def take(self) -> float:
        """The mean of the samples since the last time this was asked; there has to be one."""
        taken, self._taken = self._taken, []
        return mean(taken)

    def _work(self) -> None:
        json.dumps({text: int(text) % 1_000 for text in sorted(self._texts)})
