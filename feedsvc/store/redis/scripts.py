"""Every Lua script, loaded once from `lua/`. Each opens with its keys, arguments, result and invariant."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis import exceptions

from feedsvc.store.redis import packing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store.redis.cluster import Redis


@dataclass(frozen=True)
class Script:
    """One script, made of the parts it names, in their order."""

    parts: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The Lua source."""
        return "\n".join(
            (files(__package__) / "lua" / f"{part}.lua").read_text() for part in self.parts
        )

    @cached_property
    def sha(self) -> str:
        """What the server knows it by."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, keys: Sequence[str], *args: Any) -> Any:
        """Run it in a round trip of its own."""
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return redis.eval(self.text, len(keys), *keys, *args)

    def packed(self, key_count: int, keys: str, args: str, arg_count: int) -> bytes:
        """A call, of keys and arguments that are packed already."""
        return packing.command(
            3 + key_count + arg_count, packing.arguments("EVALSHA", self.sha, key_count), keys, args
        )


CHECK_RUN = Script(("check_run",))
STORE_LEASED = Script(("store_leased",))
OPEN_LIST = Script(("open_list",))
FINISH_LIST = Script(("finish_list",))
NOTE_REST = Script(("note_rest",))
DELIVER_SLICE = Script(("trim", "deliver_slice"))
PUT_POST = Script(("trim", "put_post"))
TAKE_OFF_POST = Script(("take_off_post",))
PUT_AUTHOR = Script(("put_author",))
REMOVE_AUTHOR = Script(("remove_author",))
OPEN_AUTHORS = Script(("open_authors",))
FINISH_AUTHORS = Script(("finish_authors",))
PUT_RECENT = Script(("begin_recent", "put_recent"))
OPEN_RECENT = Script(("begin_recent", "open_recent"))

ALL = (
    STORE_LEASED,
    OPEN_LIST,
    FINISH_LIST,
    NOTE_REST,
    DELIVER_SLICE,
    PUT_POST,
    TAKE_OFF_POST,
    PUT_AUTHOR,
    REMOVE_AUTHOR,
    OPEN_AUTHORS,
    FINISH_AUTHORS,
    PUT_RECENT,
    OPEN_RECENT,
)


def fresh_token() -> str:
    """A token that no other builder has."""
    return secrets.token_hex(8)
