"""An application inside another program: it can be closed, forgotten, and opened again."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import structlog

from feedsvc import create_app


def test_an_embedded_application_closes_at_the_end_of_its_block_and_opens_again(tmp_path, auth):
    secret = "a secret of more than thirty-two characters"
    headers = auth(7, secret=secret)
    with create_app(data_dir=tmp_path, jwt_secret=secret) as app:
        post = app.test_client().post(
            "/v1/posts", json={"photo_url": "https://img.example/1.jpg"}, headers=headers
        )
        assert post.status_code == 201
        server = app.extensions["feedsvc"].valkey.process
    assert server.poll() is not None, "the embedded server has ended"
    app.close()
    with create_app(data_dir=tmp_path, jwt_secret=secret) as app:
        page = app.test_client().get("/v1/feed", headers=headers)
        assert page.json["data"] == [post.json]


def test_nothing_keeps_a_closed_application(settings):
    app = create_app(**settings)
    services = weakref.ref(app.extensions["feedsvc"].stores.near_cache)
    app.close()
    del app
    gc.collect()
    assert services() is None


def test_a_request_leaves_the_log_context_of_the_program_around_it(client):
    with structlog.contextvars.bound_contextvars(request_id="of the host", user=7):
        assert client.get("/healthz").status_code == 200
        assert structlog.contextvars.get_contextvars() == {"request_id": "of the host", "user": 7}


def test_logs_go_where_the_program_around_the_service_sends_them(tmp_path):
    code = """
import logging, sys
from feedsvc import logs
logs.configure_inside_host()
import structlog
structlog.get_logger().warning("before.handlers")
logging.basicConfig(stream=sys.stdout, format="host %(name)s %(levelname)s %(message)s")
structlog.get_logger().warning("with.handlers", post_id=7)
structlog.get_logger().info("not.of.interest")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    [line] = ran.stdout.splitlines()
    assert line.startswith('host feedsvc WARNING {"post_id": 7, "event": "with.handlers"')
    assert '"event": "before.handlers"' in ran.stderr
