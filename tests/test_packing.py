"""Commands packed by hand are what the client library packs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection

from feedsvc.store.redis import delivery


@given(
    ids=st.lists(st.integers(1, 2**63 - 1), max_size=50),
    prefix=st.sampled_from(["", "homefeed:", "homefeed:{17}:"]),
)
def test_a_packed_command_is_what_the_library_sends(ids, prefix):
    suffixes = [str(each) for each in sorted(ids)]
    by_hand = delivery.pack(
        2 + len(ids),
        delivery.pack_arguments("EVALSHA", 7),
        delivery.pack_prefixed(prefix, suffixes),
    )
    by_library = Connection().pack_command("EVALSHA", 7, *(prefix + suffix for suffix in suffixes))
    assert by_hand == b"".join(by_library)
