"""P15: the cost of fan-out on a cluster of three nodes, compared with one node.

Costs are processor time of the servers and not the clock, because all nodes share this machine's
cores. The result also says how evenly the three nodes are used.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import redis
import sqlalchemy as sa

from benchmarks import feeds
from benchmarks.server import free_port, server_binary
from benchmarks.service import opened, until, workers
from feedsvc.embedded.valkey import die_with_parent
from feedsvc.feed import reader
from feedsvc.graph.load import load_edges
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.results import Options
    from benchmarks.service import Bench

_FOLLOWERS = 100_000
_READS = 2_000
_NODES = 3
_SLOTS = 16_384
_CHUNK = 200

# Fills the feeds of one bucket, whose accounts are `step` apart; benchmarks.feeds fills all feeds.
# The prefix of the bucket's feeds is the key that names the slot.
_FILL = """
local first, step, last = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cap, spread = tonumber(ARGV[4]), tonumber(ARGV[5])
for number = first, last, step do
  local key = KEYS[1] .. string.format('%.0f', number)
  local length = cap + number * 7919 % spread
  redis.call('RPUSH', key, unpack(ARGV, 6, 5 + length))
  redis.call('RPUSH', key, 'f' .. ARGV[6 + length])
end
"""


def measure(options: Options) -> dict[str, Any]:
    """Measure deliveries per processor second of the servers, one node and three nodes in turn.

    `spread` is how far the most used node is above the mean, after fan-outs and after reads.
    """
    count = options.scaled(_FOLLOWERS)
    with ExitStack() as stack:
        [one], nodes = (
            stack.enter_context(_started(1, "no")),
            stack.enter_context(_started(_NODES, "yes")),
        )
        single = stack.enter_context(opened(redis_url="redis://" + _addresses([one])))
        cluster = stack.enter_context(opened(redis_url="redis+cluster://" + _addresses(nodes)))
        servers = {"1 node": (single, [one]), "3 nodes": (cluster, nodes)}
        for bench, _ in servers.values():
            _prepare(bench, count)
            stack.enter_context(workers(bench))
            _deliver(bench)  # a worker's first task loads code and scripts
        rounds: list[dict[str, float]] = []
        used = {"fan-outs": [0.0] * _NODES, "reads": [0.0] * _NODES}
        for _ in options.each_round("cluster"):
            spent = {
                name: _spent(nodes, lambda bench=bench: _deliver(bench))
                for name, (bench, nodes) in servers.items()
            }
            rounds.append({name: count / sum(seconds) for name, seconds in spent.items()})
            _add(used["fan-outs"], spent["3 nodes"])
            _add(
                used["reads"], _spent(nodes, lambda: _read(cluster, count, options.scaled(_READS)))
            )
        return _result(rounds, used, [node.dbsize() for node in nodes], count)


def _prepare(bench: Bench, count: int) -> None:
    load_edges(bench.stores, ((follower, feeds.AUTHOR) for follower in feeds.followers(count)))
    post_ids = feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench))
    keys, limits = bench.stores.keys, bench.stores.limits
    spread = feeds.length_spread(bench)
    ids = post_ids[: limits.feed_cap + spread + 1]
    last = feeds.FIRST_FOLLOWER + count - 1
    for start in range(feeds.FIRST_FOLLOWER, last + 1, _CHUNK * keys.buckets):
        for first in range(start, min(start + keys.buckets, last + 1)):
            end = min(last, start + _CHUNK * keys.buckets - 1)
            sizes = (limits.feed_cap, spread)
            prefix = keys.homefeed_prefix(keys.bucket(first))
            bench.stores.redis.eval(_FILL, 1, prefix, first, keys.buckets, end, *sizes, *ids)


def _deliver(bench: Bench) -> None:
    """Upload a post and wait for `done` in SQL, so that the wait costs the servers nothing."""
    post_id = feeds.upload(bench)
    ended = sa.select(Fanout.delivered).where(Fanout.post_id == post_id, Fanout.state == "done")

    def delivered() -> int | None:
        with bench.stores.sql.reading() as connection:
            return connection.scalar(ended)

    until(delivered)


def _read(bench: Bench, count: int, reads: int) -> None:
    """Read first pages of random followers, in this process."""
    for viewer in Random(count).choices(feeds.followers(count), k=reads):
        assert reader.home_page(bench.stores, viewer, None, 20).items


def _spent(nodes: list[redis.Redis], work: Callable[[], None]) -> list[float]:
    """Return the processor seconds that each node uses for the work."""
    before = _seconds(nodes)
    work()
    return [now - then for now, then in zip(_seconds(nodes), before, strict=True)]


def _add(used: list[float], spent: list[float]) -> None:
    used[:] = map(sum, zip(used, spent, strict=True))


def _seconds(nodes: list[redis.Redis]) -> list[float]:
    return [
        info["used_cpu_user"] + info["used_cpu_sys"]
        for info in (node.info("cpu") for node in nodes)
    ]


def _result(
    rounds: list[dict[str, float]], used: dict[str, list[float]], keys: list[int], count: int
) -> dict[str, Any]:
    return {
        "rows": {"P15": [row["3 nodes"] / row["1 node"] for row in rounds]},
        "series": {
            f"{name}, deliveries per processor second": [row[name] for row in rounds]
            for name in rounds[0]
        },
        "settings": {"followers": count, "reads a round": _READS, "nodes": _NODES},
        "spread": {
            "keys": _spread(keys),
            **{f"processor seconds, {work}": _spread(seconds) for work, seconds in used.items()},
        },
        "nodes": {
            "keys": keys,
            **{f"processor seconds, {work}": seconds for work, seconds in used.items()},
        },
    }


def _spread(values: list[float] | list[int]) -> float:
    """Return how far the highest value is above the mean, as a share: 0 if all are equal."""
    return max(values) * len(values) / sum(values) - 1


def _addresses(nodes: list[redis.Redis]) -> str:
    return ",".join(f"127.0.0.1:{node.get_connection_kwargs()['port']}" for node in nodes)


@contextmanager
def _started(count: int, as_cluster: str) -> Iterator[list[redis.Redis]]:
    """Run servers on TCP ports and give a client of each; `as_cluster`: "yes" or "no"."""
    with tempfile.TemporaryDirectory(prefix="fsb") as folder, ExitStack() as stack:
        ports = [(free_port(), free_port()) for _ in range(count)]
        for port, bus in ports:
            process = subprocess.Popen(
                _command(Path(folder), port, bus, as_cluster),
                stdout=subprocess.DEVNULL,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        nodes = [redis.Redis(port=port) for port, _ in ports]
        for node in nodes:
            until(lambda node=node: _answers(node))
        if as_cluster == "yes":
            _join(nodes, ports)
        yield nodes


def _join(nodes: list[redis.Redis], ports: list[tuple[int, int]]) -> None:
    for number, node in enumerate(nodes):
        node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        node.execute_command(
            "CLUSTER ADDSLOTSRANGE", number * _SLOTS // _NODES, (number + 1) * _SLOTS // _NODES - 1
        )
        for port, bus in ports[:number]:
            node.execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
    until(lambda: all(_is_joined(node) for node in nodes))


def _command(folder: Path, port: int, bus: int, as_cluster: str) -> list[str]:
    data = folder / str(port)
    data.mkdir()
    address = ["--bind", "127.0.0.1", "--port", str(port), "--cluster-port", str(bus)]
    options = ["--cluster-enabled", as_cluster, "--save", "", "--appendonly", "no"]
    return [server_binary(), *address, *options, "--dir", str(data)]


def _answers(node: redis.Redis) -> bool:
    try:
        return bool(node.ping())
    except redis.RedisError:
        return False


def _is_joined(node: redis.Redis) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(_NODES)
