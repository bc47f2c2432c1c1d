"""A short form of `make chaos` for every build: real processes, real faults, every read checked."""

from __future__ import annotations

from tests.chaos import run as running


def test_no_fault_makes_any_read_wrong(database_url):
    outcome = running.run(database_url, seed=3, operations=800, faults=16)
    assert outcome.operations.total() >= 800
    assert outcome.faults.total() >= 12
    assert outcome.faults["restart RabbitMQ"] >= 1
    assert outcome.pages >= 300
    assert outcome.fanouts == outcome.posts
