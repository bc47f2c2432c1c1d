"""The sorted set `celebrities`, and the exact copy of it that a process holds.

Its scores are put numbers, which only grow, so "what was put after number n" is one small answer that each read asks for. A copy
may hold authors that have been removed since: a list read for nothing, never a post missed.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feedsvc.store.redis.keys import CELEBRITIES
from feedsvc.store.redis.scripts import FINISH_AUTHORS, OPEN_AUTHORS, PUT_AUTHOR, REMOVE_AUTHOR, fresh_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.client import Pipeline

    from feedsvc.store.redis.client import Redis

Entry = tuple[bytes, float]

_VALID = "v"
_BUILDING = "b"


def put(redis: Redis, author: int) -> None:
    """Note that the author's list holds something. Called after the list was written."""
    PUT_AUTHOR.run(redis, [CELEBRITIES], author, _BUILDING + fresh_token())


def number_of(redis: Redis, author: int) -> float | None:
    """The number of the author's latest put; None if it is not in the set."""
    return redis.zscore(CELEBRITIES, str(author))


def remove(redis: Redis, author: int, number: float) -> None:
    """Take the author out, unless it was put again after it had this number."""
    REMOVE_AUTHOR.run(redis, [CELEBRITIES], author, int(number))


def open_to_build(redis: Redis) -> str | None:
    """The marker to build the set under; None if it is valid."""
    marker = OPEN_AUTHORS.run(redis, [CELEBRITIES], _BUILDING + fresh_token())
    return None if marker is None else marker.decode()


def finish(redis: Redis, marker: str, authors: Iterable[int]) -> None:
    """Make the set valid with what was read from SQL, unless the marker no longer stands."""
    FINISH_AUTHORS.run(redis, [CELEBRITIES], marker, _VALID + fresh_token(), *authors)


@dataclass(frozen=True)
class Known:
    """The authors that may have something on their list, as one read knows them: a copy's state when it asked, and the news."""

    marker: bytes
    since: float
    copied: dict[int, float]
    news: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_sql(cls, authors: Iterable[int]) -> Known:
        """What SQL says, for a read that found no valid set. It is no copy of a set: nothing in it has a number."""
        return cls(b"", -math.inf, dict.fromkeys(authors, -math.inf))

    def among(self, authors: Iterable[int]) -> dict[int, float]:
        """Those of these accounts, with the numbers of their puts."""
        return {author: self.news.get(author) or self.copied[author] for author in authors if author in self.copied or author in self.news}


class CelebrityCopy:
    """One process's copy of the set, brought up to date within every read's round trip.

    Threads share it. A dictionary handed out as `Known` only ever grows: an author is forgotten in a new one, because a reader
    that asked before may have read its home feed before, too.
    """

    def __init__(self) -> None:
        """A copy of no set: the first read asks for everything."""
        self._lock = threading.Lock()
        self._known = Known(b"", -math.inf, {})

    def ask(self, pipe: Pipeline) -> Known:
        """Queue the question what was put since the copy's number. The answer goes to `learn`, with what is returned here."""
        known = self._known
        _ask(pipe, known.since)
        return known

    def learn(self, asked: Known, answer: Sequence[Entry]) -> Known | None:
        """What this read knows now. None if the set is another one than was asked about, or not valid: then `reload`."""
        marker, news, number = _understood(answer)
        if marker != asked.marker or not _is_valid(marker):
            return None
        if news:
            with self._lock:
                if self._known.marker == marker:
                    self._known.copied.update(news)
                    self._known = replace(self._known, since=max(number, self._known.since))
        return replace(asked, news=news)

    def reload(self, redis: Redis) -> Known | None:
        """Copy the whole set. None if it is absent or being built."""
        with redis.pipeline(transaction=False) as pipe:
            _ask(pipe, -math.inf)
            marker, authors, number = _understood(pipe.execute()[0])
        if not _is_valid(marker):
            return None
        loaded = Known(marker, number, authors)
        with self._lock:
            if not self._is_ahead_of(loaded):
                self._known = loaded
        return loaded

    def forget(self, empty: dict[int, float]) -> None:
        """Drop authors whose lists were found empty, each unless it was put again since it had this number."""
        with self._lock:
            copied = {author: number for author, number in self._known.copied.items() if empty.get(author) != number}
            self._known = replace(self._known, copied=copied)

    def _is_ahead_of(self, loaded: Known) -> bool:
        return self._known.marker == loaded.marker and self._known.since >= loaded.since


def _is_valid(marker: bytes) -> bool:
    return marker.startswith(_VALID.encode())


def _ask(pipe: Pipeline, since: float) -> None:
    pipe.zrangebyscore(CELEBRITIES, "-inf" if since == -math.inf else f"({int(since)}", "inf", withscores=True)


def _understood(answer: Sequence[Entry]) -> tuple[bytes, dict[int, float], float]:
    """Marker, authors, and latest number. The marker's score is infinite, so it is the last of any answer; an absent set has none."""
    if not answer:
        return b"", {}, -math.inf
    authors = {int(member): number for member, number in answer if member.isdigit()}
    number = max((number for _, number in answer[:-1]), default=-math.inf)
    return answer[-1][0], authors, number
