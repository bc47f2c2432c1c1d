"""The list of planted errors does not rot; whether the tests catch each of them, `make planted` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import ERRORS, UNSHRUNK

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_every_old_text_is_in_its_file_exactly_once(error):
    for edit in (*error.edits, *UNSHRUNK):
        assert (ROOT / edit.file).read_text().count(edit.old) == 1, edit


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_every_test_that_is_to_catch_an_error_exists(error):
    for test in error.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), test
