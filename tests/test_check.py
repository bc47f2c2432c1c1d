"""`feedsvc check` judges settings and stores, prints a table, and starts and changes nothing."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import closing

import pytest
import redis

from feedsvc.cli.main import main
from feedsvc.embedded.valkey import attach_or_start
from tests.engines import free_port
from tests.key_server import KeyServer, SigningKey


@pytest.fixture
def check(settings, monkeypatch, capsys):
    """Return a function that checks settings and returns the exit code and the findings by part."""

    def run(**changes):
        given = {**settings, **changes}
        for name, value in given.items():
            if value is None:
                monkeypatch.delenv(f"FEEDSVC_{name.upper()}", raising=False)
            else:
                monkeypatch.setenv(f"FEEDSVC_{name.upper()}", str(value))
        monkeypatch.setattr(sys, "argv", ["feedsvc", "check", "--json"])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert printed.err == ""
        answer = json.loads(printed.out)
        found = {each["part"]: each for each in answer["findings"]}
        faults = [part for part, each in found.items() if each["state"] == "fault"]
        assert answer["faults"] == len(faults)
        return left.value.code or 0, faults, found

    return run


def test_a_good_deployment_has_no_fault(check, tmp_path):
    code, faults, found = check()
    assert (code, faults) == (0, []), found
    assert {"settings", "database", "database schema", "Redis", "Redis writes", "broker"} <= set(
        found
    )
    assert not (tmp_path / "data").exists()


def test_the_table_is_aligned_and_says_what_to_do(settings, monkeypatch, capsys):
    monkeypatch.setenv("FEEDSVC_FEED_CAP", "0")
    monkeypatch.setenv("FEEDSVC_DATABSE_URL", "x")
    for name, value in settings.items():
        if name != "feed_cap":
            monkeypatch.setenv(f"FEEDSVC_{name.upper()}", str(value))
    monkeypatch.setattr(sys, "argv", ["feedsvc", "check"])
    with pytest.raises(SystemExit) as left:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 1
    states = {line[lines[0].index("state") :].split()[0] for line in lines[1:]}
    assert states == {"ok", "warning", "fault", "→"}
    assert any("FEEDSVC_FEED_CAP" in line and "from 1 to" in line for line in lines)
    assert any("did you mean FEEDSVC_DATABASE_URL?" in line for line in lines)


def test_stores_that_are_away_are_named_with_what_to_do(check, monkeypatch):
    port = free_port()
    code, faults, found = check(
        database_url=f"postgresql://feeds:hunter2@127.0.0.1:{port}/feeds",
        redis_url=f"redis://:hunter2@127.0.0.1:{port}/0",
        broker_url=f"amqp://feeds:hunter2@127.0.0.1:{port}/feeds",
    )
    assert (code, faults) == (1, ["database", "Redis", "broker"])
    assert "hunter2" not in json.dumps(found)
    assert all(found[part]["to_do"] for part in faults)


def test_all_faulty_settings_are_named_and_the_other_parts_are_asked(check):
    code, faults, found = check(database_url="mysql://host/name", feed_cap=0, broker_url="nonsense")
    assert code == 1
    assert faults == ["FEEDSVC_BROKER_URL", "FEEDSVC_DATABASE_URL", "FEEDSVC_FEED_CAP"]
    assert found["Redis"]["state"] == "ok"
    assert not {"database", "broker", "settings"} & set(found)


def test_an_old_schema_is_a_fault(check, tmp_path):
    code, faults, found = check(database_url=f"sqlite:///{tmp_path / 'empty.db'}")
    assert (code, faults) == (1, ["database schema"])
    assert found["database schema"]["to_do"] == "run feedsvc db upgrade"


def test_a_file_that_is_no_database_is_a_fault(check, tmp_path):
    (tmp_path / "wrong.db").write_text("no database" * 1000)
    code, faults, _ = check(database_url=f"sqlite:///{tmp_path / 'wrong.db'}")
    assert (code, faults) == (1, ["database"])


@pytest.fixture
def server(tmp_path):
    """One server of this test's own, also where the other tests use a cluster."""
    with closing(attach_or_start(tmp_path)) as started:
        yield started.url()


def test_a_redis_with_other_keys_is_a_fault_and_stays_as_it_is(check, server):
    with closing(redis.Redis.from_url(server)) as client:
        client.set("somebody", "else")
        code, faults, _ = check(redis_url=server)
        assert client.get("somebody") == b"else"
    assert (code, faults) == (1, ["Redis contents"])


def test_a_policy_that_evicts_any_key_is_a_fault(check, server):
    with closing(redis.Redis.from_url(server)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, faults, _ = check(redis_url=server)
    assert (code, faults) == (1, ["Redis memory"])


def test_a_sweep_that_is_late_is_a_warning(check, stores):
    assert check()[2]["sweep"]["found"].startswith("none")
    for left, state in ((3_590, "ok"), (3_000, "warning")):
        stores.redis.set("last-sweep", 1, ex=left)
        code, _, found = check()
        assert (code, found["sweep"]["state"]) == (0, state)


def test_embedded_parts_are_not_started(check, tmp_path):
    code, faults, found = check(database_url=None, redis_url=None, broker_url=None, jwt_secret=None)
    assert (code, faults) == (0, [])
    assert "will be made" in found["data folder"]["found"]
    assert not (tmp_path / "data").exists()


def test_an_unusable_generated_secret_is_a_fault(check, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jwt-secret").touch()
    code, faults, _ = check(database_url=None, redis_url=None, broker_url=None, jwt_secret=None)
    assert (code, faults) == (1, ["keys of tokens"])


def test_a_missing_secret_is_a_warning_because_workers_need_none(check):
    code, faults, found = check(jwt_secret=None)
    assert (code, faults, found["keys of tokens"]["state"]) == (0, [], "warning")


def test_a_key_server_is_asked_for_its_keys(check, tmp_path):
    with closing(KeyServer(SigningKey("one"))) as server:
        assert check(jwt_jwks=server.url)[2]["keys of tokens"]["state"] == "ok"
        server.behaviour = "html"
        assert check(jwt_jwks=server.url)[1] == ["keys of tokens"]
    assert check(jwt_jwks=server.url)[1] == ["keys of tokens"]
    assert check(jwt_jwks=tmp_path / "missing.json")[1] == ["keys of tokens"]


def test_a_server_that_never_answers_is_a_fault_soon(check, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("feedsvc.store.redis.client.TIMEOUT_SECONDS", 0.2)
        code, faults, _ = check(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    assert (code, faults) == (1, ["Redis"])
