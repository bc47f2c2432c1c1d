"""The state machine of tests/machine.py, with the same steps in every run. `make soak` runs others.

Hypothesis takes some of its numbers from the source of the loaded modules, so the steps are the
same only if the same modules are loaded. To repeat a failure of the whole suite, collect the whole
suite: `pytest tests -k every_walk`.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import cluster
from tests.conftest import TINY
from tests.machine import ACCOUNTS, Machine

CI = settings(
    derandomize=True,
    max_examples=40 if cluster.ON_CLUSTER else 60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def engines(databases):
    valkey = cluster.start_redis()
    Machine.engines = (databases.fresh, valkey, TINY)
    yield
    valkey.close()


def test_every_walk_is_the_oracles_at_every_moment(engines):
    run_state_machine_as_test(Machine, settings=CI)


def test_a_follow_under_way_is_not_mistaken_for_an_equal_follow_of_the_past(engines):
    machine, (author, follower) = Machine(), ACCOUNTS[:2]
    try:
        machine.begin(
            edges=[(follower, author)],
            follows_all=None,
            thresholds=None,
            moved=[author],
            snapshot=False,
        )
        machine.relate("unfollow", (follower, author))
        machine.pause_a_relation("follow", (follower, author), after=2)
        machine.resume_the_change()
        assert machine.oracles[0].sees(follower, author)
    finally:
        machine.teardown()
