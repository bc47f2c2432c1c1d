"""Planted errors in the budget of the near cache: eviction, and what its absence means.

See tests/planted.py.
"""

from __future__ import annotations

from tests.planting import Edit, Planted

READER = "feedsvc/feed/reader.py"
NEAR_CACHE = "feedsvc/store/near_cache/cache.py"
CLOCK_CACHE = "feedsvc/store/near_cache/clock_cache.py"
AUTHORS = "feedsvc/store/near_cache/authors.py"
TESTS = "tests/test_near_cache_budget.py::"
NO_ROOM = TESTS + "test_feeds_are_exact_with_almost_no_room"

NEAR_CACHE_BUDGET = [
    Planted(
        "evict some authors from the set",
        (
            Edit(
                AUTHORS,
                "            self.complete, self._loading = None, Load()\n",
                "            while len(self.complete) > self._most:\n"
                "                self.complete.pop()\n",
            ),
        ),
        (TESTS + "test_a_set_that_takes_half_of_the_budget_is_given_up_as_a_whole",),
    ),
    Planted(
        "take a set of authors that is not held for an empty set",
        (
            Edit(
                "feedsvc/store/near_cache/snapshot.py",
                "        if self.authors is None:\n            return None\n",
                "        if self.authors is None:\n            return set()\n",
            ),
        ),
        (NO_ROOM,),
    ),
    Planted(
        "take a list that is not cached for an empty list",
        (
            Edit(
                NEAR_CACHE,
                "missing = [author for author in authors if author not in cached]",
                "missing = list[int]()",
            ),
        ),
        (NO_ROOM,),
    ),
    Planted(
        "use a home list that was read before the set of authors was asked",
        (Edit(READER, " and snapshot.authors is not None", ""),),
        (
            TESTS
            + "test_an_author_that_left_the_set_since_the_snapshot_has_its_post_in_the_home_list",
        ),
    ),
    Planted(
        "let two reads share one fetch of a list",
        (
            Edit(
                READER,
                "CachedList.of(answer.value or celebrity_lists.rebuild(stores, author))",
                "_FETCHED.setdefault(author, CachedList.of(\n"
                "            answer.value or celebrity_lists.rebuild(stores, author)\n"
                "        ))",
            ),
            Edit(
                READER,
                "_NOT_TIMED = nullcontext()\n",
                "_NOT_TIMED = nullcontext()\n_FETCHED: dict[int, CachedList] = {}\n",
            ),
        ),
        (TESTS + "test_two_reads_fetch_a_list_for_themselves",),
    ),
    Planted(
        "lower the highest floor after an eviction",
        (
            Edit(
                NEAR_CACHE,
                "highest_floor=max(now.highest_floor, highest)",
                "highest_floor=max(map(_floor, now.lists.values()), default=highest)",
            ),
            Edit(
                NEAR_CACHE,
                "class NearCache:\n",
                "def _floor(cached: CachedList) -> int:\n"
                "    return cached.floor\n\n\n"
                "class NearCache:\n",
            ),
        ),
        (TESTS + "test_a_read_in_progress_uses_a_list_that_was_evicted_meanwhile",),
    ),
    Planted(
        "lower the floor of the recent posts when a list comes back",
        (
            Edit(
                "feedsvc/store/near_cache/recent_posts.py",
                "floor = max(self.floor, newest",
                "floor = max(0, newest",
            ),
        ),
        (
            TESTS + "test_the_floor_of_the_recent_posts_does_not_fall_after_an_eviction",
            "tests/test_merge.py",
        ),
    ),
    Planted(
        "store lists and evict nothing",
        (
            Edit(
                NEAR_CACHE,
                "                self._store_lists(lists, since)\n                self._fit()\n",
                "                self._store_lists(lists, since)\n",
            ),
        ),
        (TESTS + "test_the_near_cache_never_exceeds_its_budget_and_counts_every_byte",),
    ),
    Planted(
        "apply puts and evict nothing",
        (
            Edit(
                NEAR_CACHE,
                "            self._apply_news(asked.marker, news)\n            self._fit()\n",
                "            self._apply_news(asked.marker, news)\n",
            ),
        ),
        (TESTS + "test_the_near_cache_never_exceeds_its_budget_and_counts_every_byte",),
    ),
    Planted(
        "cache every list at its first miss",
        (
            Edit(
                CLOCK_CACHE,
                "if most < 0 or size > whole or not self._is_second_miss(key):",
                "if most < -10_000:",
            ),
        ),
        (TESTS + "test_lists_that_all_others_use_outlive_the_long_tail_of_one_reader",),
    ),
    Planted(
        "let readers reorder the copies without the lock",
        (
            Edit(
                CLOCK_CACHE,
                "            self._marks.update(found)\n",
                "            for key in found:\n                self.entries.move_to_end(key)\n",
            ),
        ),
        (TESTS + "test_a_read_marks_a_list_that_was_evicted_after_it_found_it",),
    ),
    Planted(
        "hold the set of authors before its load has ended",
        (
            Edit(
                AUTHORS,
                "            if load.is_complete:\n",
                "            if load.authors:\n",
            ),
        ),
        (TESTS + "test_a_load_that_has_not_ended_says_nothing_about_absent_authors",),
    ),
    Planted(
        "go on with a load although the set was lost between two steps",
        (Edit(AUTHORS, "if self._marker not in (None, part.marker):", "if not part.marker:"),),
        (TESTS + "test_a_load_begins_again_if_the_set_is_lost_between_two_steps",),
    ),
    Planted(
        "leave out authors with the score of the last one of a step",
        (
            Edit(
                "feedsvc/store/redis/lua/scan_authors.lua",
                "from, up_to)}",
                "from, up_to, 'LIMIT', 0, ARGV[2])}",
            ),
        ),
        (TESTS + "test_a_part_has_all_authors_of_its_highest_score",),
    ),
    Planted(
        "load the set of authors without the puts since the load began",
        (
            Edit(
                AUTHORS,
                "        if self._loading is not None:\n"
                "            self._loading.authors.add(author)\n",
                "",
            ),
        ),
        (TESTS + "test_an_author_that_is_put_after_the_last_step_was_answered_is_held",),
    ),
    Planted(
        "load a large set at once in every process",
        (Edit(AUTHORS, "random.uniform(0, SPREAD_SECONDS)", "0.0"),),
        (TESTS + "test_a_hundred_processes_that_start_together_load_in_different_seconds",),
    ),
]
