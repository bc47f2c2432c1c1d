"""Ids as clients spell them: decimal strings of ASCII digits, 1 … 2^63-1."""

from __future__ import annotations

import re
from typing import Any

_DECIMAL = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_LARGEST = 2**63 - 1

ACCEPTED = "Must be a decimal string of ASCII digits between 1 and 9223372036854775807."


def parse_id(text: Any) -> int | None:
    """The id; None if it is not spelled as one."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return number if number <= _LARGEST else None
