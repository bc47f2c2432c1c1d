"""One chaos run: clients and faults until both have done enough, then quiet, then the verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass

from tests.chaos.clients import ACCOUNTS, Client, Failed, Shared
from tests.chaos.deployment import Deployment
from tests.chaos.faults import Injector
from tests.chaos.history import History

_QUIET_SECONDS = 120


@dataclass
class Outcome:
    """The counts of a run; `repeats`: repeated requests by status, `pages`: pages judged."""

    operations: Counter
    faults: Counter
    repeats: Counter
    pages: int
    posts: int
    fanouts: int
    minutes: float


def run(database_url, *, seed, operations, faults, clients=6, report=lambda _: None):
    """Return an `Outcome`; raise `Failed` at the first error.

    `operations`, `faults`: the least numbers of both.
    """
    started = time.monotonic()
    deployment = Deployment(database_url)
    history, shared = History(), Shared()
    threads = [Client(number, seed, deployment.port, history, shared) for number in range(clients)]
    try:
        injector = Injector(seed, deployment, faults, shared.stop)
        _create_accounts(threads[0])
        _run_until_enough(threads, injector, history, shared, operations, report)
        report("no more faults: waiting for every fan-out")
        deployment.wait_for_fanouts(_QUIET_SECONDS)
        _check_every_feed(threads[0], history, deployment)
        deployment.stop()
        return Outcome(
            operations=sum((thread.counts for thread in threads), Counter()),
            faults=injector.done,
            repeats=sum((thread.repeats for thread in threads), Counter()),
            pages=history.judged,
            posts=len(history.posts),
            fanouts=deployment.finished_fanouts(),
            minutes=(time.monotonic() - started) / 60,
        )
    finally:
        for thread in threads:
            thread.close()
        deployment.close()


def _create_accounts(client):
    """Create all accounts, and many follows between them."""
    for account in ACCOUNTS:
        client.ask("PUT", f"/v1/accounts/{account}", account, {200, 201}, scope="feed")
    for _ in range(len(ACCOUNTS) * 8):
        client.relate()


def _run_until_enough(threads, injector, history, shared, operations, report):
    for thread in threads:
        thread.start()
    while not shared.stop.is_set():
        if injector.is_over:
            shared.stop.wait(0.5)
        else:
            injector.next()
        history.judge()
        done = sum(thread.counts.total() for thread in threads)
        report(
            f"{done} operations, {injector.done.total()} faults, "
            f"{history.judged} pages judged, {len(history.wrong)} wrong"
        )
        if history.wrong or (done >= operations and injector.is_over):
            shared.stop.set()
    for thread in threads:
        thread.join(120)
        if thread.error:
            raise thread.error
        assert not thread.is_alive(), f"{thread.name} did not end within 120 s"
    _judge_all(history)


def _check_every_feed(client, history, deployment):
    for account in ACCOUNTS:
        if client.walk(account, 50) != history.oracle.feed(account):
            raise Failed(f"the feed of {account} is not the oracle's")
    _judge_all(history)
    answer, errors, code = deployment.command("feed", "audit", "--json")
    if code or json.loads(answer)["differences"]:
        raise Failed(f"the audit found differences: {answer} {errors}")


def _judge_all(history):
    history.judge()
    if history.wrong:
        raise Failed("\n".join(history.wrong[:5]))
