"""The graphs on which the cost model is measured: G1, G2, G4 and G5, and graphs of a user's own.

G1 is the friendship network of a college, dense and without celebrities. G2 is the Higgs retweet
graph of Twitter. G4 and G5 are generated. The lists of G5 are twice what the default near cache of
one process holds if every account is pulled: 42 % of its accounts have posted, seven times each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedsvc.errors import FeedsvcError
from feedsvc.graph import generate, importer
from feedsvc.graph.column_file import ColumnFile
from feedsvc.graph.load import load_edges
from feedsvc.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from feedsvc.graph.load import Edge
    from feedsvc.store import Stores

SEED = 1
# The graph on which costs are learnt if no other graph is measured. It is not reported.
LEARNING = "learning"
_DATA = Path("../shared/data")
# The variable that names each file, and its usual place.
_FILES = {
    "G1": ("FEEDSVC_REED_GRAPH", _DATA / "reed98.txt.gz"),
    "G2": ("FEEDSVC_HIGGS_GRAPH", _DATA / "higgs-retweets.txt.gz"),
}
_G4_ACCOUNTS, _G5_ACCOUNTS, _LEARNING_ACCOUNTS = 1_000_000, 400_000, 10_000
_LEAST_ACCOUNTS = 500


class NoFollows(FeedsvcError):
    """A file has no line with a follow."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} has no follows; each line is `follower followee`")


@dataclass(frozen=True)
class Graph:
    """A graph that can be loaded into an empty service.

    `posts_per_account`: the mean number of posts of the day before the run. `settings`: settings of
    the service that the graph is measured under.
    """

    name: str
    load: Callable[[Stores], object]
    posts_per_account: float
    settings: Mapping[str, Any] = field(default_factory=dict)


def from_file(name: str, path: Path, posts_per_account: float) -> Graph:
    """Return the graph of a file with lines `follower followee`."""
    return Graph(name, partial(_load_file, path=path), posts_per_account)


def generated(name: str, accounts: int, posts_per_account: float) -> Graph:
    """Return a graph that is generated with the service's own generator."""
    return Graph(name, partial(generate.load, accounts=accounts, seed=SEED), posts_per_account)


def to_learn_on(scale: float) -> Graph:
    """Return a small graph on which costs are learnt for a graph that is measured alone."""
    return generated(LEARNING, _scaled(_LEARNING_ACCOUNTS, scale), 1.0)


def built_in(scale: float) -> tuple[list[Graph], list[str]]:
    """Return the project's graphs, and a message for each graph whose file is missing."""
    graphs, missing = list[Graph](), list[str]()
    for name, (variable, usual) in _FILES.items():
        path = Path(os.environ.get(variable, usual))
        if not path.exists():
            missing.append(f"{path} does not exist; set {variable} to the file of {name}")
        elif name == "G1":
            graphs.append(Graph(name, partial(_load_both_ways, path=path), 1.0))
        else:
            graphs.append(from_file(name, path, 0.1))
    graphs.append(generated("G4", _scaled(_G4_ACCOUNTS, scale), 0.1))
    graphs.append(_too_large(_scaled(_G5_ACCOUNTS, scale)))
    return graphs, missing


def _too_large(accounts: int) -> Graph:
    """Return G5: with the default near cache at its full size, and in proportion below."""
    near_cache_bytes = Settings.near_cache_bytes * accounts // _G5_ACCOUNTS
    return replace(generated("G5", accounts, 3.0), settings={"near_cache_bytes": near_cache_bytes})


def _load_file(stores: Stores, path: Path) -> None:
    """Load a graph from a file. Raises `NoFollows`, `GraphUnreadable` and `GraphMalformed`."""
    if not importer.import_graph(stores, path, skip_malformed=False).edges:
        raise NoFollows(path)


def _load_both_ways(stores: Stores, path: Path) -> None:
    """Load a graph whose file has each edge once, in both directions."""
    load_edges(stores, _both_ways(path))


def _both_ways(path: Path) -> Iterator[Edge]:
    for one, other in ColumnFile(path, lambda _: None).columns():
        yield int(one), int(other)
        yield int(other), int(one)


def _scaled(accounts: int, scale: float) -> int:
    return max(_LEAST_ACCOUNTS, round(accounts * scale))
