"""Errors to be planted in what keeps the threshold safe."""

from __future__ import annotations

from tests.planting import Edit, Planted

GUARD = "feedsvc/planning/guard.py"
RELIEF = "feedsvc/routing/load_shedding.py"

THRESHOLD = [
    Planted(
        "roll back whatever the version is by now",
        (
            Edit(
                GUARD,
                "            if_match=latest.version,\n",
                "            if_match=None,\n",
            ),
        ),
        ("tests/test_record.py::test_a_change_that_an_operator_made_meanwhile_is_not_rolled_back",),
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
        ("tests/test_record.py::test_of_many_workers_that_look_at_once_one_rolls_back",),
    ),
    Planted(
        "blame a change for a lag that was there before",
        (Edit("feedsvc/planning/watch.py", "        delivery = None\n", "        pass\n"),),
        ("tests/test_record.py::test_what_was_broken_before_a_change_is_not_its_doing",),
    ),
    Planted(
        "let posts whose time is not up hide those that are late",
        (
            Edit(
                "feedsvc/planning/watch.py",
                "    until = now() - dt.timedelta(seconds=limit)\n",
                "    until = now()\n",
            ),
        ),
        ("tests/test_record.py::test_posts_whose_time_is_not_up_hide_none_that_are_late",),
    ),
    Planted(
        "judge a rollback",
        (
            Edit(
                "feedsvc/planning/change.py",
                "        old = versions.numbered(stores, version)\n",
                "        old = versions.numbered(stores, version)\n"
                "        if guardrail_check.broken(guardrails.current(stores).guardrails, old.promote_at, old.demote_at, None):\n"
                "            raise Refused([])\n",
            ),
        ),
        ("tests/test_guardrails.py::test_a_rollback_is_never_refused",),
    ),
    Planted(
        "refuse the way back into a limit",
        (
            Edit(
                "feedsvc/planning/guardrail_check.py",
                "then > max(limit, getattr(forecast.today, figure)):  # type: ignore[union-attr]",
                "then > limit:",
            ),
        ),
        (
            "tests/test_guardrails.py::test_an_expected_figure_is_refused_above_its_limit_unless_today_is_no_better",
        ),
    ),
    Planted(
        "keep the route that relief gave",
        (Edit("feedsvc/posts/publish.py", " and not decision.for_now", ""),),
        ("tests/test_relief.py::test_a_relieved_upload_is_pulled_visible_explained_and_forgotten",),
    ),
    Planted(
        "move the line of relief from where it was not",
        (
            Edit(
                RELIEF,
                "        if current_shedding(connection) != seen:\n            return False\n",
                "",
            ),
        ),
        ("tests/test_relief.py::test_looks_at_once_move_the_line_one_step",),
    ),
]
