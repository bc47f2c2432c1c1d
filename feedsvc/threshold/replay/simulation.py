"""A replay: what posts and reads would have met, had these accounts been pulled and all others pushed. Pure; no chance in it.

The write path and the read path meet only in the celebrity lists. So the pushes are simulated first, which says when each post leaves
its author's list, and the reads after, against lists that come and go.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from feedsvc.threshold.costs import PAGE_POSTS
from feedsvc.threshold.replay.outcome import Run, outcome
from feedsvc.threshold.replay.plant import Push
from feedsvc.threshold.replay.read_path import Change, merged_by_reads
from feedsvc.threshold.replay.write_path import WritePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.threshold.replay.crowd import Crowd
    from feedsvc.threshold.replay.outcome import Outcome
    from feedsvc.threshold.replay.plant import Plant
    from feedsvc.threshold.replay.workload import Workload


def simulate(
    crowd: Crowd, workload: Workload, pulled: Sequence[int], plant: Plant, progress: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Replay the workload with these accounts pulled (1) or pushed (0); `progress` gets how many more events are done."""
    pushes = list(_pushes(crowd, workload, pulled))
    path = WritePath(plant)
    path.run(pushes)
    progress(len(workload.post_seconds))
    listed = [posts if is_pulled else 0 for posts, is_pulled in zip(workload.posts_before, pulled, strict=True)]
    changes = _changes(workload, pushes, plant.kept_seconds)
    merged = merged_by_reads(crowd, workload, listed, changes, min(plant.cap, PAGE_POSTS), progress)
    return outcome(Run(workload, pulled, path, pushes, merged))


def _pushes(crowd: Crowd, workload: Workload, pulled: Sequence[int]) -> Iterator[Push]:
    with_feed: dict[int, int] = {}
    for seconds, author in zip(workload.post_seconds, workload.authors, strict=True):
        if pulled[author]:
            continue
        if author not in with_feed:
            with_feed[author] = sum(map(workload.has_feed.__getitem__, crowd.followers(author)))
        yield Push(author, seconds, crowd.follower_count(author), with_feed[author])


def _changes(workload: Workload, pushes: Sequence[Push], kept_seconds: float) -> list[Change]:
    """Posts that go onto celebrity lists and off them, in the order of time; those of pulled accounts stay."""
    on = (Change(seconds, author, 1) for seconds, author in zip(workload.post_seconds, workload.authors, strict=True))
    off = (Change(push.done_at + kept_seconds, push.author, -1) for push in pushes)
    return sorted(chain(on, off))
