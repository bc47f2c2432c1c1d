"""The processor time of pieces of work, by kind and size, as the usage figures count it.

A piece counts the time of its own thread only, without Redis, the database or the broker.
`planning` learns its unit costs from it (docs/evidence/threshold.md).
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The kinds of work, and what their size counts:
# - read: a page of a home feed, without the next two kinds.
# - merge: finding and merging the celebrity lists of a page. Size: lists. Extra: the lists that the
#   process caches.
# - fetch: fetching celebrity lists that the near cache lacks. Size: lists.
# - upload: a post, without its message.
# - enqueue: sending the message of a pushed post. A small post sends none if one is on its way.
# - link: a batch of a large fan-out. Size: followers.
# - micro-batch: small fan-outs. Size: posts. Extra: the followers of all of them.
# - take-off: taking pushed posts off their celebrity lists. Size: posts.
Kind = Literal["read", "merge", "fetch", "upload", "enqueue", "link", "micro-batch", "take-off"]

# Sizes are counted in buckets: 0, 1, 2 to 3, 4 to 7, and so on. The last one has no end.
BUCKETS = 15
_SEPARATOR = ":"


class Tally(NamedTuple):
    """The pieces of work in one bucket: how many, and the sums of their figures.

    `us`: microseconds of processor time.
    """

    pieces: int = 0
    size: int = 0
    extra: int = 0
    us: int = 0


# The tallies of each kind by bucket.
Work = dict[str, dict[int, Tally]]


@dataclass
class Piece:
    """A piece of work under way. The code that does it sets its size."""

    size: int = 0
    extra: int = 0


class Stopwatch:
    """Adds up the processor time of this thread in its blocks, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        """Begin a block."""
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        """End the block."""
        self.seconds += time.thread_time() - self._began


@dataclass(frozen=True)
class ReadClock:
    """The processor time of a page: of all of it, of merging lists, and of fetching lists."""

    whole: Stopwatch = field(default_factory=Stopwatch)
    merging: Stopwatch = field(default_factory=Stopwatch)
    fetching: Stopwatch = field(default_factory=Stopwatch)


def bucket(size: int) -> int:
    """Return the number of the bucket of a size."""
    return min(BUCKETS - 1, size.bit_length())


class Sums:
    """The work that one process has done since some moment. Its caller has a lock."""

    def __init__(self) -> None:
        self._figures: dict[tuple[Kind, int], list[int]] = {}

    def add(self, kind: Kind, seconds: float, size: int = 0, extra: int = 0) -> None:
        """Add a piece of work that took this many seconds of processor time."""
        figures = self._figures.setdefault((kind, bucket(size)), [0, 0, 0, 0])
        figures[0] += 1
        figures[1] += size
        figures[2] += extra
        figures[3] += round(seconds * 1e6)

    def counts(self) -> dict[str, int]:
        """Return the figures of all buckets, without zeros, by their names in Redis."""
        return {
            _SEPARATOR.join((kind, str(number), name)): figure
            for (kind, number), figures in self._figures.items()
            for name, figure in zip(Tally._fields, figures, strict=True)
            if figure
        }


def parse(found: Mapping[str, int]) -> Work:
    """Return the work among counts by name. Leave out other counts, and those of later releases."""
    tallies: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for name, count in found.items():
        kind, _, rest = name.partition(_SEPARATOR)
        digits, _, figure = rest.partition(_SEPARATOR)
        if figure in Tally._fields:
            tallies[kind, int(digits)][figure] = count
    work: Work = defaultdict(dict)
    for (kind, number), figures in sorted(tallies.items()):
        work[kind][number] = Tally(**figures)
    return dict(work)


def from_json(data: Mapping[str, Mapping[str, Sequence[int]]]) -> Work:
    """Read work that was stored as JSON, which turns numbers of buckets into strings."""
    return {
        kind: {int(number): Tally(*figures) for number, figures in tallies.items()}
        for kind, tallies in data.items()
    }


def total(several: Iterable[Work]) -> Work:
    """Add up the work of several times or services."""
    sums: Work = defaultdict(dict)
    for work in several:
        for kind, tallies in work.items():
            for number, tally in tallies.items():
                before = sums[kind].get(number, Tally())
                sums[kind][number] = Tally(*map(sum, zip(before, tally, strict=True)))
    return dict(sums)
