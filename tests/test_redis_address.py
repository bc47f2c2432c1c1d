"""URLs of Redis: each is read as meant, or refused in one line. The broker keeps its options."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis
from celery import Celery

from feedsvc import create_app
from feedsvc.errors import BadSettings
from feedsvc.fanout import broker
from feedsvc.redis_address import BadAddress, celery_broker, parse
from feedsvc.settings import load_settings
from feedsvc.store.redis.client import connect

SECRET = "hunter2"
# URL: what the client connects to, and the login.
SERVERS = {
    "redis://h": {"host": "h", "port": 6379, "db": 0},
    "redis://:p%40%23%2F@h:7000/15": {"host": "h", "port": 7000, "db": 15, "password": "p@#/"},
    "redis://[::1]:7000/2": {"host": "::1", "port": 7000, "db": 2},
    "redis://h?db=3&username=u&password=p%20q": {
        "db": 3,
        "username": "u",
        "password": "p q",
    },
    "unix:///a/b.sock?db=2&password=p": {"path": "/a/b.sock", "db": 2, "password": "p"},
    "unix://u:p@/a%20b%23c%3Fd%3Be/s": {
        "path": "/a b#c?d;e/s",
        "username": "u",
        "password": "p",
    },
    "rediss://h?ssl_ca_certs=/ca&ssl_check_hostname=false&ssl_min_version=771": {
        "ssl_ca_certs": "/ca",
        "ssl_check_hostname": False,
        "ssl_min_version": 771,
    },
}
REFUSED = {
    f"redis://:{SECRET}@h/abc": "number",
    f"redis://:{SECRET}@h:port": "is not a Redis URL",
    f"redis://:{SECRET}#x@h": "%23",
    f"redis://:{SECRET}@h?db=x": "number",
    f"redis://:{SECRET}@h?protocol=3": "protocol; accepted are db",
    f"redis://:{SECRET}@h?ssl_ca_certs=/ca": "rediss://",
    f"rediss://:{SECRET}@h?ssl_cert_reqs=maybe": "none, optional, required",
    f"rediss://:{SECRET}@h?ssl_min_version=new": "ssl_min_version",
    f"unix://:{SECRET}@": "names no socket",
    "unix://path/to/s": "names no socket",
    f"http://:{SECRET}@h": "is not a Redis URL",
    f"redis+cluster://u:{SECRET}@h:1,g": "without a port",
    f"redis+cluster://u:{SECRET}@::1:7000": "without a port",
    f"redis+cluster://u:{SECRET}@[::1]:port": "is not a Redis URL",
    f"redis+cluster://u:{SECRET}@h:1?db=1": "accepted are username",
    f"redis+cluster://u:{SECRET}@h:1?ssl=true&ssl_ciphers=x": "ssl_ciphers",
}


@pytest.mark.parametrize(("url", "expected"), SERVERS.items())
def test_each_part_of_a_url_is_read(url, expected):
    with connect(url) as client:
        options = client.connection_pool.connection_kwargs
        assert {name: options.get(name) for name in expected} == expected


@pytest.mark.parametrize(("url", "reason"), REFUSED.items())
def test_an_unusable_url_is_refused_without_its_secret(url, reason):
    with pytest.raises(BadAddress, match=reason) as refusal:
        parse(url)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_cluster_url_has_ipv6_nodes_and_an_encoded_login():
    found = parse("redis+cluster://u%3A:p%40%2C@[::1]:7000,h:7001?ssl_ca_certs=/ca")
    assert found.nodes == (("::1", 7000), ("h", 7001))
    assert (found.username, found.password) == ("u:", "p@,")
    assert found.tls_keywords() == {"ssl_ca_certs": "/ca"}
    assert parse("redis+cluster://h:1").tls is None
    assert parse("redis+cluster://h:1?ssl=true").tls == {}


@pytest.mark.parametrize("url", SERVERS)
def test_the_broker_of_a_redis_url_has_the_same_server_login_and_tls(url):
    """Celery's own client library makes the connection, as a worker does."""
    with connect(url) as client:
        pool = client.connection_pool
        expected = {**pool.connection_kwargs, "db": pool.connection_kwargs["db"] + 1}
        broker = _celery_connection(parse(url).broker_url())
    assert issubclass(broker.pop("connection_class"), pool.connection_class)
    wanted = {
        name: value
        for name, value in expected.items()
        if name in ("host", "port", "path", "db", "username", "password") or name[:4] == "ssl_"
    }
    assert {name: broker.get(name) for name in wanted} == wanted


def test_a_broker_with_tls_trusts_no_unknown_certificate_unless_its_url_says_so():
    assert celery_broker("rediss://h/1") == ("rediss://h:6379/1", {"ssl_cert_reqs": "required"})
    url, options = celery_broker("rediss://:p%2Fq@h:7/1?ssl_cert_reqs=CERT_NONE")
    assert (url, options) == ("rediss://:p%2Fq@h:7/1", {"ssl_cert_reqs": "none"})
    assert celery_broker("amqp://h//") == ("amqp://h//", None)


def test_a_refused_url_is_a_bad_setting():
    with pytest.raises(BadSettings, match="REDIS_URL: names no database") as refusal:
        load_settings({}, redis_url=f"redis://:{SECRET}@h/abc")
    assert SECRET not in str(refusal.value)


def _celery_connection(url):
    """Return the keywords with which Celery's client would connect."""
    url, options = celery_broker(url)
    app = Celery("test", broker=url, set_as_current=False)
    if options is not None:
        app.conf.broker_use_ssl = options
    channel = app.connection_for_write().transport.Channel
    connection = app.connection_for_write()

    class Unconnected(channel):
        def __init__(self):
            self.connection = type("Transport", (), {"client": connection, "default_port": 6379})()

    options = Unconnected()._connparams()
    assert options["connection_class"] is not redis.Connection or not url.startswith("rediss")
    return options


def test_a_data_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a?b#c;d%20e f@g"
    with closing(create_app(data_dir=str(folder)).extensions["feedsvc"]) as services:
        services.stores.redis.set("any", 1)
        broker.check(services.celery)
        with services.stores.sql.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM posts").scalar() == 0
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
    assert (folder / "feedsvc.db").exists()
