"""The real Higgs follow graph: 256,491 accounts, of which the largest has 14,060 followers.

The test is skipped if the file of the graph is absent. CI always has the file.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from feedsvc.cache import home_lists
from feedsvc.fanout import status
from feedsvc.feed import reader
from feedsvc.graph import followers
from feedsvc.graph.importer import import_graph
from feedsvc.planning import change
from tests.world import World, post_id

GRAPH = Path(os.environ.get("FEEDSVC_HIGGS_GRAPH", "../shared/data/higgs-retweets.txt.gz"))
LARGEST = 88


@pytest.mark.skipif(
    not os.environ.get("CI") and not GRAPH.exists(),
    reason="the file of the Higgs graph is absent; set FEEDSVC_HIGGS_GRAPH to its path",
)
def test_a_pushed_upload_reaches_14060_feeds_in_two_links_and_a_pulled_one_needs_no_link(
    make_stores,
):
    stores = make_stores(
        feed_cap=800,
        feed_slack=100,
        fanout_batch=10_000,
        fanout_slice=1_000,
        promote_at=100_000,
        demote_at=80_000,
    )
    world = World(stores)
    report = import_graph(stores, GRAPH, skip_malformed=False)
    assert (report.edges, report.accounts_created, report.malformed) == (328_132, 256_491, 0)
    with stores.sql.reading() as connection:
        viewers = list(map(int, followers.batch(stores, connection, LARGEST, 0, 20_000)))
    assert len(viewers) == 14_060
    for viewer in viewers:
        home_lists.rebuild(stores, viewer)

    pushed = world.post(LARGEST)
    links = 0
    while world.queue:
        world.run_link()
        links += 1
    world.sweep()
    done = status.status(stores, pushed)
    assert (links, done.batches, done.delivered, done.skipped, done.state) == (
        2,
        2,
        14_060,
        0,
        "done",
    )
    assert all(first_page(stores, viewer) == [pushed] for viewer in viewers)

    change.change(
        stores,
        promote_at=5_000,
        demote_at=5_000,
        rollout_percent=100,
        reason="test",
        changed_by="test",
        if_match=None,
    )
    pulled = world.post(LARGEST)
    assert world.queue == []
    assert all(first_page(stores, viewer) == [pulled, pushed] for viewer in viewers)


def first_page(stores, viewer):
    return [post_id(body) for body in reader.home_page(stores, viewer, None, 20).items]
