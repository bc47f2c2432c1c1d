"""The lists of commands and keys that operators and managed servers rely on are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feedsvc.store.redis import keys
from feedsvc.store.redis.commands import NEEDED, RedisRefuses, require
from tests.cluster import single_server

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "feedsvc/store/redis/lua").glob("*.lua"))
# They are used where a server allows them.
OPTIONAL = {"FLUSHDB", "INFO"}
# Keys that are not deleted with the others: the mark of the run, and a key of another database.
NOT_OURS = {"run-id", "calibration"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_command_of_a_script_is_checked_at_the_start(script):
    used = set(re.findall(r"call\('([A-Z]+)'", script.read_text()))
    assert used <= {call[0] for call in NEEDED} | OPTIONAL


def test_every_command_of_a_round_trip_is_checked_at_the_start():
    sources = (path.read_text() for path in (ROOT / "feedsvc").rglob("*.py"))
    used = {name for text in sources for name in re.findall(r'\.(?:ask|note)\(\s*"([A-Z]+)"', text)}
    assert {"ZRANGEBYSCORE", "EXPIRE"} <= used <= {call[0] for call in NEEDED}


def test_every_key_is_deleted_where_flushdb_is_forbidden():
    page = (ROOT / "docs/redis-keys.md").read_text()
    for name in set(re.findall(r"^\| `([a-z-]+)", page, re.MULTILINE)) - NOT_OURS:
        assert f"{name}:".startswith(keys.BEGINNINGS), name


def test_the_questions_about_rights_leave_nothing_behind(stores, valkey):
    stores.redis.flushall()
    require(valkey.url)
    left = stores.redis.keys("*")
    assert all(key.startswith((b"run-id", b"sign-of-life")) for key in left), left


def test_a_server_that_is_away_is_not_refused():
    require("redis://127.0.0.1:1/0")


@single_server
def test_a_server_that_refuses_the_login_is_refused(valkey):
    with pytest.raises(RedisRefuses, match="refuses the login"):
        require(f"unix://user:password@{valkey.socket}")
