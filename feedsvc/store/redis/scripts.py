"""Every Lua script, loaded once from `lua/`.

Each file begins with a comment: keys, arguments, result, invariant.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store.redis.cluster import Redis


@dataclass(frozen=True)
class Script:
    """One script, made of the named files in their order."""

    parts: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The Lua source."""
        return "\n".join(
            (files(__package__) / "lua" / f"{part}.lua").read_text() for part in self.parts
        )

    @cached_property
    def sha(self) -> str:
        """The SHA-1 digest by which a server finds a script that it has loaded."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, keys: Sequence[str], *args: Any) -> Any:
        """Run the script in a round trip of its own."""
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return redis.eval(self.text, len(keys), *keys, *args)


CHECK_RUN = Script(("check_run",))
DELETE_STEP = Script(("delete_step",))
STORE_LEASED = Script(("store_leased",))
DROP_LEASE = Script(("drop_lease",))
OPEN_LIST = Script(("open_list",))
FINISH_LIST = Script(("finish_list",))
STORE_TAIL_HINT = Script(("store_tail_hint",))
DELIVER_SLICE = Script(("trim", "deliver_slice"))
PUT_POST = Script(("trim", "put_post"))
TAKE_OFF_POST = Script(("take_off_post",))
PUT_AUTHOR = Script(("begin_set", "put_author"))
REMOVE_AUTHOR = Script(("remove_author",))
OPEN_AUTHORS = Script(("begin_set", "open_authors"))
FINISH_AUTHORS = Script(("finish_authors",))
CLAIM_AUTHORS = Script(("begin_set", "claim_authors"))
SCAN_AUTHORS = Script(("scan_authors",))
LOG_INVALIDATION = Script(("begin_set", "log_invalidation"))
OPEN_LOG = Script(("begin_set", "open_log"))
RAISE_POST_IDS = Script(("raise_post_ids",))

# The scripts that a `RoundTrip` loads into a server that lacks one of them.
ALL = (
    STORE_LEASED,
    DROP_LEASE,
    OPEN_LIST,
    FINISH_LIST,
    STORE_TAIL_HINT,
    DELIVER_SLICE,
    PUT_POST,
    TAKE_OFF_POST,
    PUT_AUTHOR,
    REMOVE_AUTHOR,
    OPEN_AUTHORS,
    FINISH_AUTHORS,
    CLAIM_AUTHORS,
    SCAN_AUTHORS,
    LOG_INVALIDATION,
    OPEN_LOG,
    RAISE_POST_IDS,
)
