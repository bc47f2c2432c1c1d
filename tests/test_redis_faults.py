"""Errors of the Redis client: every way in which Redis can refuse to work is one kind of error."""

from __future__ import annotations

import pytest
import redis
from redis import exceptions
from redis._parsers.base import BaseParser

from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis.faults import WriteRefused, fault_of

# As servers of the versions 7 and 9 write them.
REFUSE_WRITES = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "OOM command not allowed when used memory > 'maxmemory'. script: 0a1b, on @user_script:7.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist.",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: 0a1b, on @user_script:7.",
    "NOPERM User app has no permissions to run the 'flushdb' command",
    "ERR The user executing the script can't run this command or subcommand script: 0a1b",
    "ERR ACL failure in script: User app has no permissions to run the 'info' command",
    "ERR unknown command 'UNLINK', with args beginning with: 'a'",
    "EXECABORT Transaction discarded because of: OOM command not allowed when used memory",
    "ERR Error running script (call to f_0a1b): @user_script:7: -OOM command not allowed",
]
REFUSE_ALL = [
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "ERR max number of clients reached",
]
MISTAKES = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR wrong number of arguments for 'lpushx' command",
    "NOSCRIPT No matching script. Please use EVAL.",
    "BUSYKEY Target key name already exists.",
]


@pytest.mark.parametrize("text", REFUSE_WRITES)
def test_a_server_that_refuses_writes_is_an_unavailable_store_that_may_be_read(text):
    fault = fault_of(BaseParser.parse_error(text))
    assert isinstance(fault, WriteRefused)
    assert (fault.store, fault.status) == ("Redis", 503)
    assert fault.cause


@pytest.mark.parametrize("text", REFUSE_ALL)
def test_a_server_that_refuses_every_command_is_an_unavailable_store(text):
    fault = fault_of(BaseParser.parse_error(text))
    assert type(fault) is StoreUnavailable
    assert fault.cause


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("read"),
        exceptions.SlotNotCoveredError("slot 7"),
        exceptions.ClusterError("TTL exhausted."),
    ],
)
def test_a_server_that_gives_no_answer_is_an_unavailable_store(error):
    assert type(fault_of(error)) is StoreUnavailable


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_of_the_service_is_no_fault_of_the_store(text):
    assert fault_of(BaseParser.parse_error(text)) is None
