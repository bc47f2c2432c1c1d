"""The service as people deploy it: real servers in front of it and behind it, and their failures.

`make environments` runs these tests. They need PostgreSQL, RabbitMQ, Redis, PgBouncer, nginx and a
C compiler of the system, and run for minutes; `make test` leaves them out.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.environments.servers import Certificates, PostgreSQL, Redis


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_hung_redis():
    """Use the limits of production, which these tests are about."""


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL instance for tests that leave it as it was."""
    with closing(PostgreSQL()) as server:
        yield server


@pytest.fixture
def database(postgresql):
    """The name of an empty database of the shared instance."""
    with postgresql.fresh_database() as name:
        yield name


@pytest.fixture
def redis_server():
    """A Redis server for one test."""
    with closing(Redis()) as server:
        yield server


@pytest.fixture(scope="session")
def certificates():
    with closing(Certificates()) as made:
        yield made
