"""One run: clients and faults until both have had their share, then peace, and the verdict."""

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
    """What was done, and what was found."""

    operations: Counter
    faults: Counter
    trouble: Counter
    pages: int
    posts: int
    fanouts: int
    minutes: float


def run(database_url, *, seed, operations, faults, clients=6, report=lambda _: None):
    """Returns an `Outcome`; raises `Failed` at the first thing that is wrong."""
    started = time.monotonic()
    deployment = Deployment(database_url)
    history, shared = History(), Shared()
    threads = [Client(number, seed, deployment.port, history, shared) for number in range(clients)]
    try:
        injector = Injector(seed, deployment, faults, shared.stop)
        _begin(threads[0])
        _share_out(threads, injector, history, shared, operations, report)
        report("peace: waiting for every fan-out")
        deployment.await_quiet(_QUIET_SECONDS)
        _all_is_exact(threads[0], history, deployment)
        deployment.stop()
        done, trouble = (
            sum((thread.counts for thread in threads), Counter()),
            sum((thread.trouble for thread in threads), Counter()),
        )
        with deployment.database.connect() as connection:
            fanouts = connection.exec_driver_sql(
                "SELECT count(*) FROM fanouts WHERE state = 'done'"
            ).scalar()
        minutes = (time.monotonic() - started) / 60
        return Outcome(
            done, injector.done, trouble, history.judged, len(history.posts), fanouts, minutes
        )
    finally:
        for thread in threads:
            thread.hang_up()
        deployment.close()


def _begin(client):
    """Everybody exists; some follow many."""
    for account in ACCOUNTS:
        client.ask("PUT", f"/v1/accounts/{account}", account, {200, 201}, scope="feed")
    for _ in range(len(ACCOUNTS) * 8):
        client.relate()


def _share_out(threads, injector, history, shared, operations, report):
    for thread in threads:
        thread.start()
    while not shared.stop.is_set():
        if injector.is_over:
            shared.stop.wait(0.5)
        else:
            injector.next()
        history.judge()
        done, hit = sum(thread.counts.total() for thread in threads), injector.done.total()
        report(
            f"{done} operations, {hit} faults, {history.judged} pages judged, {len(history.wrong)} wrong"
        )
        if history.wrong or (done >= operations and injector.is_over):
            shared.stop.set()
    for thread in threads:
        thread.join(120)
        if thread.error:
            raise thread.error
        assert not thread.is_alive(), f"{thread.name} hangs"
    history.judge()
    _nothing_wrong(history)


def _all_is_exact(client, history, deployment):
    for account in ACCOUNTS:
        expected = history._oracle.feed(account)
        if client.walk(account, 50) != expected:
            raise Failed(f"the feed of {account} is not the oracle's")
    history.judge()
    _nothing_wrong(history)
    answer, said, code = deployment.command("feed", "audit", "--json")
    if code or json.loads(answer)["differences"]:
        raise Failed(f"the audit found differences: {answer} {said}")


def _nothing_wrong(history):
    if history.wrong:
        raise Failed("\n".join(history.wrong[:5]))
