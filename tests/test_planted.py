"""The planted errors match the service's files. `make planted` checks that the tests catch them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import ERRORS, UNSHRUNK

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_every_old_text_occurs_in_its_file_exactly_once(error):
    for edit in (*error.edits, *UNSHRUNK):
        assert (ROOT / edit.file).read_text().count(edit.old) == 1, edit


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_every_test_that_a_planted_error_names_exists(error):
    for test in error.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text()
        assert not name or f"def {name}(" in text, test
