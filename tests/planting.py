"""Planted errors: each replaces some text in the service's files and names the tests that catch it.

The errors are listed in the modules tests/planted_*.py. tests/planted.py plants them and runs the
tests.
"""

from __future__ import annotations

from dataclasses import dataclass


class NotPlanted(Exception):
    """The file does not contain the old text exactly once."""


@dataclass(frozen=True)
class Edit:
    """The replacement of one text; `old` must occur in the file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Planted:
    """An error that the design warns of; `tests` are the cheapest tests that catch it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    needs_postgresql: bool = False


def plant(root, edits):
    """Make the edits in a folder, one after the other. Raises `NotPlanted`."""
    for edit in edits:
        path = root / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            count = text.count(edit.old)
            raise NotPlanted(
                f"{edit.file} must contain this text once, not {count} times; "
                f"update the planted error: {edit.old.strip()}"
            )
        path.write_text(text.replace(edit.old, edit.new))
