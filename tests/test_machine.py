"""The state machine of tests/machine.py, the same steps every time; `make soak` runs other ones for as long as asked."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import cluster
from tests.conftest import TINY
from tests.machine import Machine

CI = settings(
    derandomize=True,
    max_examples=40 if cluster.IS_ASKED_FOR else 60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_every_walk_is_the_oracles_at_every_moment(databases):
    valkey = cluster.asked_for()
    Machine.engines = (databases.fresh, valkey, TINY)
    try:
        run_state_machine_as_test(Machine, settings=CI)
    finally:
        valkey.close()
