"""Planted errors in the code that keeps the threshold safe."""

from __future__ import annotations

from tests.planting import Edit, Planted

CHANGE = "feedsvc/planning/change.py"
LOAD_SHEDDING = "feedsvc/routing/load_shedding.py"

THRESHOLD = [
    Planted(
        "roll back a version that an operator has just set",
        (
            Edit(
                CHANGE,
                "            if_match=latest.version,\n",
                "            if_match=None,\n",
            ),
        ),
        ("tests/test_watch.py::test_a_version_added_during_a_check_is_not_rolled_back",),
    ),
    Planted(
        "roll back to a partial rollout of the broken thresholds",
        (
            Edit(
                CHANGE,
                "versions.settled_before(stores, latest.version)",
                "latest.version - 1",
            ),
        ),
        ("tests/test_watch.py::test_a_rollback_takes_every_account_off_the_broken_thresholds",),
    ),
    Planted(
        "give the same version twice",
        (
            Edit(
                "feedsvc/routing/versions.py",
                "        if if_match != latest.version:\n",
                "        if if_match > latest.version:\n",
            ),
        ),
        ("tests/test_watch.py::test_one_of_several_checking_workers_rolls_back",),
    ),
    Planted(
        "blame a change for a lag that was there before",
        (Edit("feedsvc/planning/watch.py", "        delivery = None\n", "        pass\n"),),
        ("tests/test_watch.py::test_a_limit_that_was_broken_before_a_change_is_not_watched",),
    ),
    Planted(
        "let posts that are not late yet hide late posts",
        (
            Edit(
                "feedsvc/planning/watch.py",
                "        until = clock.read(connection) - dt.timedelta(seconds=limit)\n",
                "        until = clock.read(connection)\n",
            ),
        ),
        ("tests/test_watch.py::test_posts_that_are_not_late_yet_do_not_hide_late_posts",),
    ),
    Planted(
        "judge a rollback",
        (
            Edit(
                CHANGE,
                "        old = versions.numbered(stores, version)\n",
                "        old = versions.numbered(stores, version)\n"
                "        limits = guardrails.current(stores).guardrails\n"
                "        if broken_guardrails(limits, old.promote_at, old.demote_at, None):\n"
                "            raise Refused([])\n",
            ),
        ),
        ("tests/test_guardrails.py::test_a_rollback_is_never_refused",),
    ),
    Planted(
        "refuse an improvement that does not reach the limit",
        (
            Edit(
                CHANGE,
                "if value > max(limit, today):",
                "if value > limit:",
            ),
        ),
        ("tests/test_guardrails.py::test_a_figure_above_its_limit_is_refused_unless_it_improves",),
    ),
    Planted(
        "store the route that load shedding chose as the last route",
        (Edit("feedsvc/posts/publish.py", " and not decision.for_now", ""),),
        ("tests/test_load_shedding.py::test_a_shed_post_is_visible_and_explained_and_forgotten",),
    ),
    Planted(
        "move the line of load shedding after another worker has moved it",
        (
            Edit(
                LOAD_SHEDDING,
                "        if current_shedding(connection) != seen:\n            return False\n",
                "",
            ),
        ),
        ("tests/test_load_shedding.py::test_checks_at_the_same_time_move_the_line_one_step",),
    ),
]
