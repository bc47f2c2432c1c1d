"""How fast this machine is just now. On a shared one a processor's speed changes by a fifth from one ten seconds to the next.

A fixed piece of work, as a read is one: look-ups in more memory than a cache holds, sorting, JSON. What is measured in one period and what
is predicted from another are compared at one speed, by what that work took in each.
"""

from __future__ import annotations

import json
import random
import time
from statistics import mean

_ENTRIES, _LOOKED_UP, _SORTED = 300_000, 400, 800
_COUNTED = 3


class Speed:
    """Seconds that the piece of work took, every time since they were last asked for."""

    def __init__(self) -> None:
        """Work for half a millisecond or so, every time somewhere else."""
        source = random.Random(1)
        self._memory = {source.getrandbits(62): [number, str(number)] for number in range(_ENTRIES)}
        self._keys = source.sample(sorted(self._memory), _ENTRIES // 2)
        self._texts = [str(source.getrandbits(62)).encode() for _ in range(_SORTED)]
        self._at = 0
        self._taken: list[float] = []

    def sample(self) -> None:
        """Do it a few times. The first is not counted: what ran before it has left the processor's caches in one state or another."""
        self._work()
        began = time.process_time()
        for _ in range(_COUNTED):
            self._work()
        self._taken.append((time.process_time() - began) / _COUNTED)

    def _work(self) -> None:
        self._at = (self._at + _LOOKED_UP) % (len(self._keys) - _LOOKED_UP)
        found = [self._memory[key] for key in self._keys[self._at : self._at + _LOOKED_UP]]
        json.dumps([found[:20], [int(text) for text in sorted(self._texts)[:80]]])

    def take(self) -> float:
        """The mean of the samples since the last time this was asked; there has to be one."""
        taken, self._taken = self._taken, []
        return mean(taken)
