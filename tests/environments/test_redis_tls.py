"""Redis with TLS, a private authority and client certificates. Its broker is made from its URL."""

from __future__ import annotations

import sys
from contextlib import closing

import pytest

from feedsvc import create_app
from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import broker
from feedsvc.redis_address import parse
from feedsvc.store.redis.client import connect
from feedsvc.tasks import celery_on
from tests.environments.calls import SECRET, pushes_a_post
from tests.environments.parts import Part
from tests.environments.servers import Certificates, TlsRedis


@pytest.fixture(scope="module")
def server(certificates):
    with closing(TlsRedis(certificates)) as made:
        yield made


def test_a_worker_runs_a_fan_out_over_mutual_tls(server, tmp_path):
    settings = {
        "redis_url": server.url,
        "data_dir": str(tmp_path),
        "jwt_secret": SECRET,
        "promote_at": 1000,
        "demote_at": 1000,
    }
    app = create_app(**settings)
    with (
        closing(app.extensions["feedsvc"]),
        closing(Part(sys.executable, "-m", "feedsvc", "worker", **settings)),
    ):
        assert pushes_a_post(app)


@pytest.mark.parametrize("fault", ["another authority", "no certificate of the client"])
def test_neither_redis_nor_its_broker_is_used_if_a_certificate_is_missing(
    server, certificates, fault
):
    with closing(Certificates()) as others:
        url = f"rediss://127.0.0.1:{server.port}/0?" + (
            TlsRedis.options_of(others)
            if fault == "another authority"
            else f"ssl_ca_certs={certificates.authority}"
        )
        with closing(connect(url)) as client, pytest.raises(StoreUnavailable):
            client.get("any")
        with pytest.raises(StoreUnavailable):
            broker.check(celery_on(parse(url).broker_url()))
    with closing(connect(server.url)) as client:
        assert client.get("any") is None
    broker.check(celery_on(parse(server.url).broker_url()))
