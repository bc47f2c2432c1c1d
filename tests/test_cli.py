"""Commands print an answer, JSON with --json, and one line for an error."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import jwt
import pytest

from feedsvc.cli.main import main
from feedsvc.graph import accounts
from feedsvc.posts import publish


@pytest.fixture
def run(settings, monkeypatch, capsys):
    """Return a function that runs a command and returns its exit code, output and error output."""
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
    return publish.publish(
        stores, lambda *_: None, 9, photo_url="https://img.example/1.jpg", description=""
    ).post_id


def is_one_line(err):
    assert ". (" not in err
    return err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("feed",),
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
        ("threshold", "rollback", "0", "--reason", "x"),
        ("threshold", "rollback", str(2**63), "--reason", "x"),
        ("threshold", "rollback", "1", "--reason", ""),
        ("threshold", "set", "--promote-at", "5", "--demote-at", "5", "--reason", "\udcff"),
        ("threshold", "guardrails"),
        ("threshold", "guardrails", "set", "--max-promote-at", "5"),
        ("threshold", "guardrails", "set", "--reason", "x"),
        ("threshold", "guardrails", "set", "--max-promote-at", "5.5", "--reason", "x"),
        ("threshold", "guardrails", "set", "--max-moved-percent", "nan", "--reason", "x"),
        ("threshold", "guardrails", "set", "--max-moved-percent", "x", "--reason", "x"),
        ("threshold", "guardrails", "set", "--max-promote-at", "5", "--reason", ""),
        ("threshold", "simulate", "--promote-at", "0"),
        ("threshold", "simulate", "--events", "0"),
        ("threshold", "simulate", "--reads-per-second", "0"),
        ("threshold", "simulate", "--workers", "0"),
        ("threshold", "simulate", "--days", "1", "--events", "5"),
        ("threshold", "simulate", "--days", "1", "--recorded", "f"),
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
        (
            "threshold",
            "guardrails",
            "set",
            "--min-promote-at",
            "5",
            "--max-promote-at",
            "4",
            "--reason",
            "x",
        ),
        ("threshold", "simulate"),
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


def test_every_bad_setting_is_named(run, monkeypatch):
    monkeypatch.setenv("FEEDSVC_FEED_CAP", "0")
    monkeypatch.setenv("FEEDSVC_DEMOTE_AT", "many")
    code, _, err = run("graph", "stats")
    assert code == 1
    assert [line.split(" must")[0] for line in err.splitlines()] == [
        "error: FEEDSVC_DEMOTE_AT:",
        "error: FEEDSVC_FEED_CAP:",
    ]
    code, _, err = run("graph", "stats", "--json")
    assert (code, json.loads(err)["error"].count("FEEDSVC_")) == (1, 2)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redis_url", "nonsense"),
        ("redis_url", "http://host"),
        ("redis_url", "redis://host:port"),
        ("redis_url", "redis://host/name"),
        ("redis_url", "redis+cluster://host"),
        ("database_url", "nonsense"),
        ("database_url", "postgresql+asyncpg://host/name"),
        ("database_url", "postgresql+nonsense://host/name"),
        ("database_url", "postgresql://host:port/name"),
    ],
)
def test_a_setting_with_a_bad_address_is_named(run, monkeypatch, name, url):
    monkeypatch.setenv(f"FEEDSVC_{name.upper()}", url)
    if "cluster" not in url:
        monkeypatch.delenv("FEEDSVC_BROKER_URL", raising=False)
    code, _, err = run("graph", "stats")
    assert code == 1
    assert is_one_line(err)
    assert err.startswith(f"error: FEEDSVC_{name.upper()}: ")


def test_a_token_is_signed_with_the_services_key(run, settings):
    code, out, _ = run(
        "token", "--account", str(2**63 - 1), "--scope", "feed admin:read", "--ttl", "60"
    )
    claims = jwt.decode(out.strip(), settings["jwt_secret"], ["HS256"])
    assert (code, claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == (
        0,
        str(2**63 - 1),
        "feed admin:read",
        60,
    )


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
    code, out, _ = run(
        "threshold", "set", "--promote-at", "7", "--demote-at", "5", "--reason", "a test", "--json"
    )
    assert (code, json.loads(out)["version"], json.loads(out)["changed_by"]) == (
        0,
        2,
        "command line",
    )
    assert (
        json.loads(run("threshold", "rollback", "1", "--reason", "back", "--json")[1])["version"]
        == 3
    )
    assert [
        version["version"]
        for version in json.loads(run("threshold", "history", "--json")[1])["versions"]
    ] == [3, 2, 1]
    assert "a test" in run("threshold", "history")[1]


def test_guardrails_are_set_one_by_one_and_removed(run):
    def limits(*words):
        code, out, _ = run("threshold", "guardrails", *words, "--json")
        assert code == 0
        return json.loads(out)

    assert limits("show")["max_promote_at"] is None
    limits("set", "--max-promote-at", "50", "--reason", "x")
    both = limits("set", "--max-moved-percent", "2.5", "--reason", "y")
    assert (both["version"], both["max_promote_at"], both["max_moved_percent"], both["reason"]) == (
        3,
        50,
        2.5,
        "y",
    )
    limits("set", "--max-moved-percent", "none", "--reason", "z")
    asked = ("threshold", "set", "--promote-at", "60", "--demote-at", "60", "--reason", "x")
    code, out, err = run(*asked)
    assert (code, out) == (1, "")
    assert "promote_at 60 is above its bound of 50" in err
    assert json.loads(run(*asked, "--force", "--json")[1])["forced"] is True
    assert "command line, forced: x" in run("threshold", "history")[1]
    assert "promote at 1000, demote at 1000, rollout percent 100" in run("threshold", "show")[1]
    assert "50" in run("threshold", "guardrails", "show")[1]


def test_a_fan_out_is_shown_and_swept(run, post):
    assert json.loads(run("fanout", "status", str(post), "--json")[1])["state"] == "pending"
    assert json.loads(run("fanout", "sweep", "--json")[1]) == {
        "changes": 0,
        "redriven": 0,
        "taken_off": 0,
    }


def test_a_feed_is_rebuilt_audited_and_repaired(run, post, stores, everything_is_settled):
    from feedsvc.fanout import chain

    chain.run_link(stores, lambda *_: None, post, 0, "0")
    assert json.loads(run("feed", "rebuild", "9", "--json")[1]) == {
        "account": "9",
        "posts": 1,
        "floor": "0",
    }
    assert run("feed", "audit")[:2] == (0, "1 account, 1 stored feed, 0 differences\n")
    stores.redis.lrem(stores.keys.homefeed(9), 0, str(post))
    code, out, _ = run("feed", "audit", "--sample", "5")
    assert code == 1
    assert (
        f"account 9 lacks post {post} "
        "(author 9, route push, policy version 1, fan-out done, batch 1)" in out
    )
    assert "account 9: repaired" in out
    run("feed", "rebuild", "9")
    code, out, _ = run("feed", "audit", "--json")
    clean = {
        "accounts": 1,
        "stored_feeds": 1,
        "differences": 0,
        "missing": [],
        "extra": [],
        "twice": 0,
        "repaired": [],
    }
    assert (code, json.loads(out)) == (0, clean)


def test_an_audit_repairs_repeats_and_lists_differences_in_json(
    run, post, stores, everything_is_settled
):
    from feedsvc.fanout import chain

    run("feed", "rebuild", "9")
    chain.run_link(stores, lambda *_: None, post, 0, "0")
    code, out, _ = run("feed", "audit")
    assert (code, out.splitlines()[1:]) == (
        0,
        [
            "1 id is stored more than once",
            "account 9: repaired; its next read builds the feed again",
        ],
    )
    run("feed", "rebuild", "9")
    stores.redis.lrem(stores.keys.homefeed(9), 0, str(post))
    code, out, _ = run("feed", "audit", "--json")
    missing = {"account": "9", "post_id": str(post), "kind": "missing", "author_id": "9"}
    missing |= {"route": "push", "policy_version": 1, "state": "done", "batch": 1}
    assert (code, json.loads(out)["missing"], json.loads(out)["repaired"]) == (1, [missing], ["9"])


def test_the_database_is_migrated(run):
    code, out, _ = run("db", "upgrade", "--json")
    newest = max(
        path.name[:4] for path in (Path(__file__).parents[1] / "migrations/versions").glob("0*.py")
    )
    assert (code, json.loads(out)) == (0, {"found": newest, "revision": newest})


def test_an_embedded_database_is_migrated_without_a_redis(run, monkeypatch):
    for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL"):
        monkeypatch.delenv(f"FEEDSVC_{name}", raising=False)
    code, out, _ = run("db", "upgrade", "--json")
    assert (code, json.loads(out)["found"]) == (0, None)


def test_a_database_that_was_never_migrated_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setenv("FEEDSVC_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    code, _, err = run("graph", "stats")
    assert code == 1
    assert "db upgrade" in err
    assert run("db", "upgrade")[0] == 0
    assert run("graph", "stats")[0] == 0


@pytest.mark.parametrize(
    "group",
    [
        (),
        ("graph",),
        ("threshold",),
        ("threshold", "guardrails"),
        ("fanout",),
        ("feed",),
        ("db",),
        ("up",),
    ],
)
def test_help_is_printed_for_every_group(run, group):
    code, out, _ = run(*group, "--help")
    assert code == 0
    assert out.startswith("Usage: feedsvc")
    assert not [line for line in out.splitlines()[1:] if line.endswith("...")], "a cut-off sentence"


def test_the_help_names_the_scopes_of_tokens_and_links(run):
    for command in ("token", "console"):
        assert "admin:read" in run(command, "--help")[1]


def test_a_link_to_the_console_is_printed(run):
    code, out, _ = run("console", "--account", "7", "--url", "http://127.0.0.1:9000/")
    assert code == 0
    assert out.startswith("http://127.0.0.1:9000/console/sign-in#")
    assert run("console", "--account", "0")[0] == 2


def test_a_simulation_compares_thresholds_and_repeats_with_the_same_seed(run):
    run("graph", "generate", "--accounts", "300")
    words = (
        "threshold",
        "simulate",
        "--promote-at",
        "10",
        "--promote-at",
        "10",
        "--events",
        "2000",
        "--posts-per-second",
        "5",
    )
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    assert run(*words, "--json")[1] == out
    assert run(*words, "--seed", "2", "--json")[1] != out
    found = json.loads(out)
    assert (found["accounts"], found["source"], found["seed"], found["workers"]) == (
        300,
        "generated",
        1,
        2,
    )
    pulled, pushed = found["thresholds"]
    assert [(row["promote_at"], row["is_today"]) for row in (pulled, pushed)] == [
        (10, False),
        (1000, True),
    ]
    assert pulled["posts"] + pulled["reads"] == 2000
    assert pulled["pulled_accounts"] > pushed["pulled_accounts"] == 0
    assert pulled["deliveries"] < pushed["deliveries"]
    assert pulled["lists_per_read"]["mean"] > pushed["lists_per_read"]["mean"]
    code, out, _ = run(*words)
    assert code == 0
    assert "1,000 (today)" in out


def test_a_recording_is_replayed_and_a_malformed_recording_is_misuse(run, tmp_path, post, world):
    world.add_followers(9, [1])
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("0 post 9\n1 read 1\n60 read 1\n60 read 404\n")
    bad.write_text("0 post 9\noops\n")
    code, out, _ = run("threshold", "simulate", "--recorded", str(good), "--json")
    [row] = json.loads(out)["thresholds"]
    assert (code, json.loads(out)["of_unknown_accounts"]) == (0, 1)
    assert (row["posts"], row["reads"], row["deliveries"], row["lists_per_read"]["mean"]) == (
        1,
        2,
        1,
        0.5,
    )
    assert "not in the database: 1" in run("threshold", "simulate", "--recorded", str(good))[1]
    for path in (bad, tmp_path / "none"):
        code, out, err = run("threshold", "simulate", "--recorded", str(path))
        assert (code, out) == (2, "")
        assert is_one_line(err)
    assert "line 2" in run("threshold", "simulate", "--recorded", str(bad))[2]


def test_the_posts_of_the_last_days_are_replayed(run, post):
    code, out, _ = run("threshold", "simulate", "--days", "1", "--json")
    [row] = json.loads(out)["thresholds"]
    assert (code, json.loads(out)["source"], row["posts"], row["reads"]) == (0, "database", 1, 100)
