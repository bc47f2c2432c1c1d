"""Planting errors by hand: an error is a few replacements in the service's files, and names the tests that are to catch it.

The lists are tests/planted_views.py, planted_fanout.py and planted_threshold.py; tests/planted.py plants what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass


class NotPlanted(Exception):
    """An old text is not, or not once, in its file."""


@dataclass(frozen=True)
class Edit:
    """`old` is in the file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Planted:
    """What the design warns of, done all the same; `tests` are the cheapest that catch it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def plant(root, edits):
    """Make the edits in this folder, one after the other. Raises `NotPlanted`."""
    for edit in edits:
        path = root / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise NotPlanted(f"{edit.file} holds {text.count(edit.old)} times: {edit.old.strip()}")
        path.write_text(text.replace(edit.old, edit.new))
