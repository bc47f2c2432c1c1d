"""A database that changes its role, is shut down, or is set up otherwise than the service needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from functools import partial

import psycopg
import pytest

from feedsvc.cli.main import main
from feedsvc.errors import StoreUnavailable
from feedsvc.store.sql.faults import is_refusal
from tests.engines import free_port, wait_until
from tests.environments.calls import are_unavailable, call, migrated, together, upload
from tests.environments.servers import PostgreSQL, postgresql_program

POLICY = "/v1/admin/threshold"


@pytest.fixture(scope="module")
def primary():
    """An instance that these tests may restart, and whose roles and databases they change."""
    with closing(PostgreSQL()) as server:
        hba = server.folder / "data" / "pg_hba.conf"
        hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        server.execute("SELECT pg_reload_conf()")
        wait_until(lambda: asks_for_a_password(server))
        yield server


def asks_for_a_password(server):
    """Return whether the server uses the new rules already."""
    try:
        psycopg.connect(server.url().replace("+psycopg", "").replace("root", "guarded")).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture
def name(primary):
    with primary.fresh_database() as made:
        yield made


@pytest.fixture
def database_url(primary, name):
    return migrated(primary.url(name))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, valkey):
    """Return a function that runs a command against a database, as one process does."""

    def command(url, *words):
        for setting, value in {
            "DATABASE_URL": url,
            "REDIS_URL": valkey.url,
            "DATA_DIR": str(tmp_path),
            "JWT_SECRET": "s" * 40,
        }.items():
            monkeypatch.setenv(f"FEEDSVC_{setting}", value)
        monkeypatch.setattr(sys, "argv", ["feedsvc", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, capsys.readouterr().err

    return command


class Standby(PostgreSQL):
    """A hot standby of another instance, which can be promoted."""

    name = "standby"

    def __init__(self, primary: PostgreSQL) -> None:
        self._primary = primary
        super().__init__()

    def prepare(self) -> None:
        user = self.user()
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        subprocess.run(
            [
                *(
                    postgresql_program("pg_basebackup"),
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(self._primary.port),
                ),
                *("-U", "root", "-D", "data", "-R", "-X", "stream", "-c", "fast", "-N"),
            ],
            cwd=self.folder,
            check=True,
            capture_output=True,
            user=user.pw_uid,
            group=user.pw_gid,
        )


def is_writable(app):
    """Return what `/readyz` asks."""
    try:
        app.extensions["feedsvc"].stores.sql.check_writable()
    except StoreUnavailable as error:
        return error.cause
    return True


def test_on_a_standby_writes_are_503_and_work_once_it_is_promoted(
    primary, name, settings, auth, app
):
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    post = json.loads(upload(app, auth(9)).text)
    with closing(Standby(primary)) as standby:
        from feedsvc import create_app

        with closing(create_app(**{**settings, "database_url": standby.url(name)})) as moved:
            wait_until(lambda: call(moved, "GET", f"/v1/posts/{post['id']}", auth(9)).status == 200)
            assert are_unavailable([upload(moved, auth(9)) for _ in range(3)])
            assert "read-only" in str(is_writable(moved)) or "recovery" in str(is_writable(moved))
            assert call(moved, "GET", "/v1/feed", auth(9)).status == 200
            standby.execute("SELECT pg_promote()")
            wait_until(lambda: is_writable(moved) is True)
            assert upload(moved, auth(9)).status == 201


def test_a_primary_that_was_read_only_for_a_while_is_written_to_at_once(primary, name, app, auth):
    """The pooled connections stay read-only: they have to go."""
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    with read_only(primary, name):
        assert are_unavailable(together([partial(upload, app, auth(9))] * 16))
        assert "read-only" in is_writable(app)
        assert call(app, "GET", "/v1/accounts/9", auth(9)).status == 200
    first = together([partial(upload, app, auth(9))] * 8)
    assert {answer.status for answer in first} <= {201, 503}
    # If a failed upload was the last one to end, the database is suspected until the next one.
    assert upload(app, auth(9)).status == 201
    assert {answer.status for answer in together([partial(upload, app, auth(9))] * 8)} == {201}
    assert is_writable(app) is True


@contextmanager
def read_only(primary, name):
    primary.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end_connections(primary, name)
    yield
    primary.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def end_connections(primary, name):
    primary.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{name}'"
    )


def test_connections_that_the_server_ends_are_replaced_before_anybody_sees_it(
    primary, name, app, auth
):
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    together([partial(upload, app, auth(9))] * 16)
    end_connections(primary, name)
    answers = together([partial(upload, app, auth(9))] * 16)
    assert {answer.status for answer in answers} == {201}


def test_a_restart_is_503_while_it_lasts(primary, app, auth):
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    primary.kill()
    assert are_unavailable([upload(app, auth(9)), call(app, "GET", "/v1/accounts/9", auth(9))])
    primary.start()
    assert upload(app, auth(9)).status == 201


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_a_statement_that_the_server_ends_is_503(primary, name, app, auth, setting):
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    primary.execute(f"ALTER DATABASE {name} SET {setting} = '100ms'")
    end_connections(primary, name)
    with psycopg.connect(primary.url(name).replace("+psycopg", "")) as other:
        other.execute("SELECT 1 FROM accounts WHERE id = 9 FOR UPDATE")
        assert are_unavailable([upload(app, auth(9))])
    assert upload(app, auth(9)).status == 201


def test_a_deadlock_is_503_and_a_repeat_succeeds(primary, name, app, auth):
    """Another client holds account 9 and wants a table that the upload has written already."""
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status == 201
    with psycopg.connect(primary.url(name).replace("+psycopg", "")) as other:
        other.execute("LOCK TABLE posts IN SHARE MODE")
        [answer] = together([partial(deadlocking, app, auth(9), other)])
    assert answer.status in (201, 503)
    assert upload(app, auth(9)).status == 201


def deadlocking(app, headers, other):
    """Upload while the other client closes a circle of locks."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(upload, app, headers)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: other.execute(waiting).fetchone()[0] > 0)
        try:
            other.execute("SELECT 1 FROM accounts WHERE id = 9 FOR UPDATE")
        except psycopg.errors.DeadlockDetected:
            other.rollback()
        return running.result()


def test_with_another_default_isolation_concurrent_changes_are_no_500(primary, name, app, auth):
    primary.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    end_connections(primary, name)
    headers = auth(1, "admin:read admin:write")
    tag = app.test_client().get(POLICY, headers=headers).headers["ETag"]
    body = {"promote_at": 2000, "demote_at": 1000, "reason": "test"}
    change = partial(call, app, "PUT", POLICY, {**headers, "If-Match": tag}, json=body)
    statuses = sorted(answer.status for answer in together([change] * 8))
    assert statuses == [200] + [412] * 7


def test_a_database_that_cannot_hold_every_text_is_refused_in_one_line(primary, run):
    for encoding in ("SQL_ASCII", "LATIN1"):
        made = f"feedsvc_{encoding.lower()}"
        primary.execute(f"CREATE DATABASE {made} ENCODING '{encoding}' TEMPLATE template0")
        for words in (("db", "upgrade"), ("graph", "stats"), ("up", "--port", "0")):
            code, err = run(primary.url(made), *words)
            assert code == 1
            assert_one_line(err, f"encoding is {encoding}")


@pytest.mark.parametrize("words", [("db", "upgrade"), ("graph", "stats"), ("up", "--port", "0")])
def test_each_cause_is_named_in_one_line_without_a_secret(primary, run, words):
    at = f"127.0.0.1:{primary.port}"
    for url, cause in (
        (f"postgresql://root@127.0.0.1:{free_port()}/postgres", "Connection refused"),
        (f"postgresql://root@{at}/missing", 'database "missing" does not exist'),
        (f"postgresql://nobody@{at}/postgres", 'role "nobody" does not exist'),
        (f"postgresql://guarded:hunter2@{at}/postgres", "password authentication failed"),
        (f"postgresql://root@{at}/postgres?sslmode=require", "SSL"),
    ):
        code, err = run(url, *words)
        assert code == 1
        assert_one_line(err, cause)
        assert is_refusal(err) == (cause != "Connection refused")
        assert "hunter2" not in err
        assert "Idempotency-Key" not in err


def test_missing_rights_are_named_in_one_line(primary, name, run):
    code, err = run(f"postgresql://guarded:right@127.0.0.1:{primary.port}/{name}", "db", "upgrade")
    assert code == 1
    assert_one_line(err, "permission denied")


def assert_one_line(err, part):
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert part in err, err
