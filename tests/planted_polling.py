"""Planted errors in ids, in the watermark and in cursors of polls. See tests/planted.py."""

from __future__ import annotations

from tests.planting import Edit, Planted

WATERMARK = "feedsvc/store/watermark.py"
IDS = "feedsvc/post_ids.py"
PAGING = "feedsvc/paging.py"
TESTS = "tests/test_watermark.py::"
OPEN_TESTS = "tests/test_open_transactions.py::"

POLLING = [
    Planted(
        "a watermark that ignores the outbox",
        (
            Edit(
                WATERMARK,
                "decided if look.unapplied is None else min(decided, look.unapplied - 1)",
                "decided",
            ),
        ),
        (TESTS + "test_a_poll_returns_a_post_whose_put_was_late_and_a_newer_one_once_each",),
    ),
    Planted(
        "a watermark that ignores open transactions",
        (Edit(WATERMARK, "look.oldest >= each.number", "True"),),
        (OPEN_TESTS + "test_a_post_that_commits_after_a_higher_one_is_polled",),
        needs_postgresql=True,
    ),
    Planted(
        "a watermark by the upper bound of the snapshot",
        (
            Edit(
                WATERMARK,
                "THEN pg_current_xact_id()",
                "THEN pg_snapshot_xmax(pg_current_snapshot())",
            ),
        ),
        (OPEN_TESTS + "test_open_transactions_above_the_snapshot_hold_the_watermark_back",),
        needs_postgresql=True,
    ),
    Planted(
        "draw an id before the author is locked",
        (
            Edit(
                "feedsvc/posts/publish.py",
                "    account = connection.execute(_LOCK_AUTHOR",
                "    highest_id.clock_and_highest(connection)\n"
                "    account = connection.execute(_LOCK_AUTHOR",
            ),
        ),
        (OPEN_TESTS + "test_an_upload_has_a_transaction_number_before_it_draws_its_id",),
        needs_postgresql=True,
    ),
    Planted(
        "trust the numbers of another run of the server",
        (Edit(WATERMARK, "before.run != look.run or before.number >= look.number", "False"),),
        (OPEN_TESTS + "test_another_run_of_the_server_begins_anew",),
        needs_postgresql=True,
    ),
    Planted(
        "a first page that does not wait for the first look",
        (Edit(WATERMARK, "if is_known and not self._is_due():", "if not self._is_due():"),),
        (TESTS + "test_a_request_waits_for_the_first_look_of_another_one",),
    ),
    Planted(
        "without a watermark, a cursor above posts that may still come",
        (Edit(PAGING, "watermark = 0 if is_whole or not ids else", "watermark ="),),
        (
            OPEN_TESTS
            + "test_a_process_without_a_watermark_polls_below_a_page_that_is_the_whole_feed",
        ),
        needs_postgresql=True,
    ),
    Planted(
        "ids by the clock alone",
        (
            Edit(IDS, "max(ms_since_1970, ms_of(highest))", "ms_since_1970"),
            Edit(IDS, "return drawn if drawn > highest else", "return drawn if drawn else"),
        ),
        (TESTS + "test_polling_is_exact_after_the_clock_of_the_database_was_set_back",),
    ),
    Planted(
        "remove posts without raising the highest id",
        (
            Edit(
                "feedsvc/store/sql/highest_id.py",
                '        connection.execute(_RAISE, {"removed": max(post_ids)})\n',
                "",
            ),
        ),
        (TESTS + "test_no_id_is_drawn_again_after_the_account_with_the_highest_was_deleted",),
    ),
    Planted(
        "a put that does not record its id",
        (Edit("feedsvc/cache/celebrity_lists.py", "    post_ids.add_post(trip, post_id)\n", ""),),
        (TESTS + "test_the_id_of_an_upload_goes_on_record",),
    ),
    Planted(
        "a cursor that stands above the watermark",
        (Edit(PAGING, "position = max(at.position, min(watermark or 0, top))", "position = top"),),
        (TESTS + "test_a_poll_returns_a_post_whose_put_was_late_and_a_newer_one_once_each",),
    ),
    Planted(
        "a poll that shows more than its cursor can list",
        (Edit(PAGING, "if count == 0 or _fits(newer):", "if True:"),),
        (TESTS + "test_a_burst_is_polled_within_cursors_of_512_characters",),
    ),
]
