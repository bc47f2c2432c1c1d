"""Every setting is judged at the start: all faults at once, what is accepted, and no secret."""

from __future__ import annotations

import json

import pytest
import structlog

from feedsvc import create_app
from feedsvc import settings as settings_of_service
from feedsvc.embedded import datadir
from feedsvc.embedded.datadir import SecretUnusable
from feedsvc.errors import BadSettings
from feedsvc.services import open_services
from feedsvc.settings import load_settings, unknown_variables
from tests.key_server import SigningKey

SECRET = "a secret for tests that is long enough"
EXTERNAL = {
    "FEEDSVC_DATABASE_URL": "postgresql://host/name",
    "FEEDSVC_REDIS_URL": "redis://host",
}


def faults(environ, **more):
    with pytest.raises(BadSettings) as refused:
        load_settings(environ, **more)
    return dict(line.split(": ", 1) for line in refused.value.lines)


def test_all_faults_are_named_at_once_without_their_secrets(tmp_path):
    (tmp_path / "file").touch()
    wrong = {
        "FEEDSVC_DATA_DIR": str(tmp_path / "file" / "data"),
        "FEEDSVC_DATABASE_URL": "mysql://user:hunter2@host/name",
        "FEEDSVC_REDIS_URL": "redis://:hunter2@host/zero",
        "FEEDSVC_BROKER_URL": "hunter2",
        "FEEDSVC_JWT_SECRET": "hunter2",
        "FEEDSVC_JWT_SECRETS_OLD": f"{SECRET},hunter2",
        "FEEDSVC_JWT_JWKS": "https://user:hunter2@host/jwks.json",
        "FEEDSVC_FEED_CAP": "0",
        "FEEDSVC_FEED_SLACK": "1.5",
        "FEEDSVC_FEED_TTL_SECONDS": "-1",
        "FEEDSVC_FANOUT_BATCH": str(2**31),
        "FEEDSVC_FANOUT_SLICE": "many",
        "FEEDSVC_PROMOTE_AT": "٣",
        "FEEDSVC_CORS_ORIGINS": "https://app.example/",
        "FEEDSVC_TRUSTED_PROXIES": "17",
        "FEEDSVC_PUBLIC_URL": "app.example",
    }
    found = faults(wrong)
    assert set(found) == set(wrong) - {"FEEDSVC_DATA_DIR"}, "nothing is embedded"
    assert "hunter2" not in str(found)
    del wrong["FEEDSVC_REDIS_URL"]
    assert set(faults(wrong)) == set(wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "nonsense"),
        ("database_url", "postgresql+asyncpg://host/name"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite:///:memory:"),
        ("redis_url", "http://host"),
        ("redis_url", "redis://host:port"),
        ("redis_url", "redis://host:99999"),
        ("redis_url", "redis://host/0?sokcet_timeout=5"),
        ("redis_url", "unix://"),
        ("redis_url", "redis+cluster://host:7000,host"),
        ("broker_url", "http://host"),
        ("broker_url", "amqp://host:port"),
        ("broker_url", "amqp://host;notabroker"),
        ("broker_url", "redis://host/zero"),
        ("jwt_jwks", "ftp://host/jwks.json"),
        ("jwt_jwks", "https://"),
        ("jwt_jwks", "https://host:port/"),
        ("cors_origins", 5),
        ("feed_cap", True),
        ("feed_cap", 5.5),
        ("feed_cap", None),
        ("data_dir", 5),
        ("data_dir", "~nobody-of-this-name/data"),
    ],
)
def test_a_wrong_value_is_refused(name, value):
    variable = f"FEEDSVC_{name.upper()}"
    assert list(faults({}, **{name: value})) == [variable]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "sqlite:////tmp-folder/feeds.db"),
        ("database_url", "postgresql://user:p%40ss@[::1]:5432/name?sslmode=verify-full"),
        ("redis_url", "rediss://user:p%40ss@host:6380/2?ssl_ca_certs=/etc/ca.pem"),
        ("redis_url", "unix:///run/valkey.sock?db=1"),
        ("broker_url", "amqp://user:p%40ss@host:5672/vhost"),
        ("broker_url", "amqps://a;amqps://b"),
        ("broker_url", "redis+socket:///run/valkey.sock?virtual_host=1"),
        ("feed_cap", " 5 "),
        ("jwt_jwks", "http://127.0.0.1:8080/jwks.json"),
        ("jwt_secrets_old", ""),
    ],
)
def test_a_right_value_is_accepted(name, value):
    load_settings({f"FEEDSVC_{name.upper()}": value})


def test_pairs_of_settings_are_judged_beside_other_faults():
    wrong = {
        "FEEDSVC_PROMOTE_AT": "5",
        "FEEDSVC_DEMOTE_AT": "6",
        "FEEDSVC_REDIS_URL": "redis+cluster://host:7000",
        "FEEDSVC_FEED_CAP": "0",
    }
    assert set(faults(wrong)) == {
        "FEEDSVC_BROKER_URL",
        "FEEDSVC_DEMOTE_AT",
        "FEEDSVC_FEED_CAP",
    }


def test_only_a_process_that_needs_tokens_needs_a_secret_or_a_jwks_beside_a_database():
    load_settings(EXTERNAL)
    assert list(faults(EXTERNAL, for_tokens=True)) == ["FEEDSVC_JWT_SECRET"]
    load_settings({**EXTERNAL, "FEEDSVC_JWT_SECRET": SECRET}, for_tokens=True)
    load_settings({**EXTERNAL, "FEEDSVC_JWT_JWKS": "https://host/jwks.json"}, for_tokens=True)
    load_settings({"FEEDSVC_REDIS_URL": "redis://host"}, for_tokens=True)


@pytest.mark.parametrize(
    "text",
    [None, "", "<html>", "[]", "{}", '{"keys": []}', '{"keys": 5}', '{"keys": [{"kty": "oct"}]}'],
)
def test_a_jwks_file_is_read_at_the_start_where_it_is_needed(tmp_path, text):
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    environ = {"FEEDSVC_JWT_JWKS": str(path)}
    load_settings(environ)
    assert list(faults(environ, for_tokens=True)) == ["FEEDSVC_JWT_JWKS"]


def test_an_unknown_keyword_is_an_error():
    for name in ("feed_caps", "environ"):
        with pytest.raises(BadSettings, match="is no setting"):
            create_app(**{name: 5})


def test_an_unknown_variable_is_named_with_the_nearest_setting():
    environ = {
        "FEEDSVC_DATABSE_URL": "x",
        "FEEDSVC_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "FEEDSVC_FEED_CAP": "5",
        "PATH": "x",
    }
    found = unknown_variables(environ)
    assert list(found) == ["FEEDSVC_DATABSE_URL", "FEEDSVC_PORT_8000_TCP"]
    assert found["FEEDSVC_DATABSE_URL"] == "FEEDSVC_DATABASE_URL"
    load_settings(environ)


def test_a_process_without_embedded_parts_touches_no_data_folder(settings, tmp_path):
    del settings["jwt_secret"]
    opened = open_services(load_settings({}, **settings))
    assert opened.jwt_secret is None
    opened.close()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "fewer than 32"),
        (b"short\n", "fewer than 32"),
        (b"\xff" * 40, "cannot be read"),
    ],
)
def test_a_file_that_is_no_secret_is_named_in_one_line(tmp_path, content, fault):
    path = tmp_path / "jwt-secret"
    path.write_bytes(content)
    with pytest.raises(SecretUnusable, match=fault) as refused:
        datadir.secret(tmp_path)
    assert str(path) in str(refused.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretUnusable, match="cannot be read"):
        datadir.secret(tmp_path)


def test_a_secret_with_a_line_end_is_the_secret(tmp_path):
    (tmp_path / "jwt-secret").write_text(f"{SECRET}\n")
    assert datadir.secret(tmp_path) == SECRET


def test_without_a_secret_the_console_says_what_to_set(settings, tmp_path):
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [SigningKey("one").public()]}))
    del settings["jwt_secret"]
    with create_app(**settings, jwt_jwks=str(tmp_path / "jwks.json")) as app:
        answer = app.test_client().get("/console/sign-in")
        assert answer.status_code == 403
        assert "FEEDSVC_JWT_SECRET" in answer.text
        assert app.test_client().get("/readyz").status_code == 200


def test_an_unknown_variable_is_logged_once_without_its_value(monkeypatch):
    monkeypatch.setenv("FEEDSVC_DATABSE_URLS", "hunter2")
    # A logger of its own: other tests change the configuration that all loggers share.
    log = structlog.testing.CapturingLogger()
    monkeypatch.setattr(settings_of_service, "_log", log)
    load_settings()
    load_settings()
    [line] = [each for each in log.calls if each.kwargs["variable"] == "FEEDSVC_DATABSE_URLS"]
    assert line.args == ("settings.unknown_variable",)
    assert line.kwargs["nearest_setting"] == "FEEDSVC_DATABASE_URL"
    assert "hunter2" not in str(line)
