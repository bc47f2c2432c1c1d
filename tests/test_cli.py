"""Commands: thin, one line when something is wrong, JSON when asked."""

from __future__ import annotations

import gzip
import json
import sys

import jwt
import pytest

from feedsvc.cli.main import main
from feedsvc.graph import accounts
from feedsvc.posts import publish


@pytest.fixture
def run(settings, monkeypatch, capsys):
    """Runs a command on this test's stores; returns exit code, output and error output."""
    for name, value in settings.items():
        monkeypatch.setenv(f"FEEDSVC_{name.upper()}", str(value))

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["feedsvc", *words])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return command


@pytest.fixture
def post(stores):
    accounts.create(stores, 9)
    return publish.publish(stores, lambda *_: None, 9, photo_url="https://img.example/1.jpg", description="").post_id


def is_one_line(err):
    return err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("up", "--port", "x"),
        ("up", "--port", "70000"),
        ("up", "--workers", "-1"),
        ("token",),
        ("token", "--account", "0"),
        ("token", "--account", "1", "--scope", "root"),
        ("token", "--account", "1", "--ttl", "0"),
        ("graph", "import"),
        ("graph", "import", "f", "--on-error", "panic"),
        ("graph", "generate"),
        ("graph", "generate", "--accounts", "1"),
        ("threshold", "set", "--promote-at", "5"),
        ("threshold", "rollback", "x"),
        ("fanout", "status", "abc"),
        ("fanout", "status", "٣"),
        ("feed", "rebuild"),
        ("feed", "audit", "--sample", "0"),
        ("db", "downgrade"),
    ],
)
def test_misuse_is_one_line_and_exit_2(run, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert is_one_line(err), err


@pytest.mark.parametrize(
    "words",
    [
        ("graph", "import", "/nowhere/at/all"),
        ("graph", "import", "/"),
        ("threshold", "set", "--promote-at", "5", "--demote-at", "6", "--reason", "x"),
        ("threshold", "rollback", "9", "--reason", "x"),
        ("fanout", "status", "77"),
        ("feed", "rebuild", "77"),
    ],
)
def test_a_failure_is_one_line_and_exit_1(run, words):
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert is_one_line(err), err
    code, out, err = run(*words, "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]


def test_bad_settings_are_named(run, monkeypatch):
    monkeypatch.setenv("FEEDSVC_FEED_CAP", "0")
    monkeypatch.setenv("FEEDSVC_DEMOTE_AT", "many")
    code, _, err = run("graph", "stats")
    assert code == 1
    assert is_one_line(err)
    assert "feed_cap" in err
    assert "demote_at" in err


def test_a_token_is_signed_with_the_services_key(run, settings):
    code, out, _ = run("token", "--account", str(2**63 - 1), "--scope", "feed admin:read", "--ttl", "60")
    claims = jwt.decode(out.strip(), settings["jwt_secret"], ["HS256"])
    assert (code, claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == (0, str(2**63 - 1), "feed admin:read", 60)


def test_a_graph_is_imported_described_and_stopped_at_a_bad_line(run, tmp_path):
    good, bad = tmp_path / "good.gz", tmp_path / "bad.txt"
    good.write_bytes(gzip.compress(b"1 9\n2 9\n1 9\n"))
    bad.write_text("3 9\noops\n")
    code, out, _ = run("graph", "import", str(good), "--json")
    assert code == 0
    assert json.loads(out) | {"seconds": 0} == {
        "lines": 3,
        "edges": 3,
        "accounts_created": 3,
        "follows_created": 2,
        "repeats": 1,
        "refused": 0,
        "malformed": 0,
        "malformed_lines": [],
        "seconds": 0,
    }
    code, _, err = run("graph", "import", str(bad))
    assert code == 1
    assert "line 2" in err
    code, out, _ = run("graph", "import", str(bad), "--on-error", "skip")
    assert code == 0
    assert "line 2" in out
    code, out, _ = run("graph", "stats", "--json")
    assert json.loads(out)["follows"] == 3
    assert run("graph", "stats")[0] == 0


def test_a_graph_is_generated(run):
    code, out, _ = run("graph", "generate", "--accounts", "50", "--json")
    assert (code, json.loads(out)["accounts_created"]) == (0, 50)


def test_the_threshold_is_shown_set_listed_and_rolled_back(run):
    assert json.loads(run("threshold", "show", "--json")[1])["version"] == 1
    code, out, _ = run("threshold", "set", "--promote-at", "7", "--demote-at", "5", "--reason", "a test", "--json")
    assert (code, json.loads(out)["version"], json.loads(out)["changed_by"]) == (0, 2, "command line")
    assert json.loads(run("threshold", "rollback", "1", "--reason", "back", "--json")[1])["version"] == 3
    assert [version["version"] for version in json.loads(run("threshold", "history", "--json")[1])["versions"]] == [3, 2, 1]
    assert "a test" in run("threshold", "history")[1]


def test_a_fan_out_is_shown_and_swept(run, post):
    assert json.loads(run("fanout", "status", str(post), "--json")[1])["state"] == "pending"
    assert json.loads(run("fanout", "sweep", "--json")[1]) == {"changes": 0, "redriven": 0, "taken_off": 0}


def test_a_feed_is_rebuilt_and_audited(run, post, stores):
    from feedsvc.fanout import chain
    from feedsvc.store.redis import keys

    assert json.loads(run("feed", "rebuild", "9", "--json")[1]) == {"account": "9", "posts": 1, "floor": "0"}
    chain.run_link(stores, lambda *_: None, post, 0, "0")
    assert run("feed", "audit")[:2] == (0, "1 accounts, 1 stored feeds, 0 differences\n")
    stores.redis.lrem(keys.homefeed(9), 0, str(post))
    code, out, _ = run("feed", "audit", "--sample", "5")
    assert code == 1
    assert f"account 9 lacks post {post}" in out
    run("feed", "rebuild", "9")
    assert run("feed", "audit", "--json")[0] == 0


def test_the_database_is_migrated(run):
    code, out, _ = run("db", "upgrade", "--json")
    assert (code, json.loads(out)) == (0, {"found": "0001", "revision": "0001"})


def test_a_database_that_was_never_migrated_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setenv("FEEDSVC_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    code, _, err = run("graph", "stats")
    assert code == 1
    assert "db upgrade" in err
    assert run("db", "upgrade")[0] == 0
    assert run("graph", "stats")[0] == 0


@pytest.mark.parametrize("group", [(), ("graph",), ("threshold",), ("fanout",), ("feed",), ("db",), ("up",)])
def test_help_says_what_there_is(run, group):
    code, out, _ = run(*group, "--help")
    assert code == 0
    assert out.startswith("Usage: python -m feedsvc")
