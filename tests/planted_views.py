"""Planted errors in the views: how they are filled, deleted and read. See tests/planted.py."""

from __future__ import annotations

from tests.planting import Edit, Planted

LUA = "feedsvc/store/redis/lua"
LISTS = "feedsvc/store/redis/lists.py"
LOG = "feedsvc/store/redis/invalidation_log.py"
NEAR_CACHE = "feedsvc/store/near_cache/cache.py"
SNAPSHOT = "feedsvc/store/near_cache/snapshot.py"
CRASH_TESTS = "tests/test_crashes.py::"
LIST_TESTS = "tests/test_lists.py::"
FEED_TESTS = "tests/test_feed.py::"
CELEBRITY_TESTS = "tests/test_celebrities.py::"
NEAR_CACHE_TESTS = "tests/test_near_cache.py::"
BODY_TESTS = "tests/test_near_cache_bodies.py::"
TAIL_HINT_TESTS = "tests/test_tail_hint.py::"
WHILE_READ = (
    "tests/test_relations.py::test_relations_that_change_while_they_are_read_are_read_again"
)

_OPEN = "    marker = open_to_build(redis, key, limits.feed_ttl_seconds)\n"
_READ = "    found = read_sql()\n"
_WRITE = "    marker = _add_post(trip, author, post_id, stores.limits)\n"
_NEXT = "    trip.then()\n"
_PUT = "    _add_author(trip, author, post_id)\n"

_EDIT_IN_PLACE = """\
def _edit_in_place(
    stores: Stores, viewer: int, edit: Callable[[frozenset[int]], frozenset[int]]
) -> None:
    from feedsvc.cache import relations

    authors = relations.parse(stores.redis.get(stores.keys.relations(viewer)))
    if authors is not None:
        value = b"=" + relations._pack(list(edit(authors)))
        stores.redis.set(stores.keys.relations(viewer), value, keepttl=True)


"""

VIEWS = [
    Planted(
        "read SQL before opening the feed in a rebuild",
        (Edit(LISTS, _OPEN + _READ, _READ + _OPEN),),
        (FEED_TESTS + "test_a_rebuild_keeps_posts_that_are_pushed_meanwhile",),
    ),
    Planted(
        "finish a rebuild although the token has changed",
        (
            Edit(
                f"{LUA}/finish_list.lua",
                "if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[1] then",
                "if string.sub(redis.call('LINDEX', KEYS[1], -1) or '', 1, 1) ~= 'b' then",
            ),
        ),
        (LIST_TESTS + "test_a_trim_of_a_feed_being_built_gives_it_a_new_token",),
    ),
    Planted(
        "trim a feed that is being built and keep its token",
        (Edit(f"{LUA}/trim.lua", "    marker = 'b' .. token\n", ""),),
        (LIST_TESTS + "test_a_trim_of_a_feed_being_built_gives_it_a_new_token",),
    ),
    Planted(
        "trim without raising the floor",
        (Edit(f"{LUA}/trim.lua", "        floor, digits = id, #id\n", ""),),
        (LIST_TESTS + "test_a_feed_is_trimmed_to_its_cap_and_its_floor_is_the_highest_id_cut",),
    ),
    Planted(
        "a follow that does not delete the feed",
        (Edit("feedsvc/outbox.py", "stores.keys.homefeed(self.follower), ", ""),),
        (FEED_TESTS + "test_old_posts_appear_at_once_after_a_follow_and_vanish_after_an_unfollow",),
    ),
    Planted(
        "fill `relations` without a token",
        (
            Edit(
                "feedsvc/cache/relations.py",
                "    [value] = leases.read_or_build(stores.redis, [key], build, ttl_seconds)\n",
                "    [value] = build([])\n"
                '    stores.redis.set(key, b"=" + value, ex=ttl_seconds)\n',
            ),
        ),
        (WHILE_READ,),
    ),
    Planted(
        "edit `relations` in place on unfollow",
        (
            Edit(
                "feedsvc/graph/follows.py",
                "transaction.add(RelationsChanged([follower]))",
                "transaction.add(outbox.Unfollowed(follower, followee))",
            ),
            Edit(
                "feedsvc/outbox.py",
                "@dataclass(frozen=True)\nclass Flush(Effect):\n",
                _EDIT_IN_PLACE
                + "@dataclass(frozen=True)\nclass Unfollowed(Effect):\n"
                + '    kind = "unfollowed"\n    follower: int\n    followee: int\n\n'
                + "    def apply(self, stores: Stores) -> None:\n"
                + "        gone = {self.followee}\n"
                + "        _edit_in_place(stores, self.follower, lambda ids: ids - gone)\n\n\n"
                + "@dataclass(frozen=True)\nclass Flush(Effect):\n",
            ),
        ),
        (WHILE_READ,),
    ),
    Planted(
        "edit `relations` in place on follow",
        (
            Edit(
                "feedsvc/graph/follows.py",
                "transaction.add(Followed(follower))",
                "transaction.add(Followed(follower, followee))",
            ),
            Edit(
                "feedsvc/outbox.py",
                "@dataclass(frozen=True)\nclass Followed(Effect):\n",
                _EDIT_IN_PLACE + "@dataclass(frozen=True)\nclass Followed(Effect):\n",
            ),
            Edit(
                "feedsvc/outbox.py",
                "    follower: int\n",
                "    follower: int\n    followee: int = 0\n",
            ),
            Edit(
                "feedsvc/outbox.py",
                "        stores.redis.delete(\n"
                "            stores.keys.homefeed(self.follower), "
                "stores.keys.relations(self.follower)\n"
                "        )\n",
                "        stores.redis.delete(stores.keys.homefeed(self.follower))\n"
                "        new = {self.followee}\n"
                "        _edit_in_place(stores, self.follower, lambda ids: ids | new)\n",
            ),
        ),
        (WHILE_READ,),
    ),
]

READING = [
    Planted(
        "take an author out of `celebrities` without comparing the score",
        (
            Edit(
                f"{LUA}/remove_author.lua",
                "if number and tonumber(number) == tonumber(ARGV[2]) then",
                "if number then",
            ),
        ),
        (CELEBRITY_TESTS + "test_an_author_that_was_put_again_is_not_removed",),
    ),
    Planted(
        "read an absent `celebrities` as empty",
        (
            Edit(
                "feedsvc/store/redis/celebrities.py",
                "return None if part is None else part.authors",
                "return frozenset() if part is None else part.authors",
            ),
        ),
        (CELEBRITY_TESTS + "test_an_absent_set_is_not_an_empty_set",),
    ),
    Planted(
        "read an absent celebrity list as empty",
        (
            Edit(
                "feedsvc/feed/reader.py",
                "answer.value or celebrity_lists.rebuild(stores, author)",
                "answer.value or lists.FloorList([], 0)",
            ),
        ),
        (CELEBRITY_TESTS + "test_a_lost_celebrity_list_is_not_an_empty_list",),
    ),
    Planted(
        "read the head of a list although its tail hint is too short",
        (Edit(LISTS, "        if left_out > hint.length:\n            return None\n", ""),),
        (TAIL_HINT_TESTS + "test_a_tail_hint_serves_until_too_many_posts_were_pushed",),
    ),
    Planted(
        "read the head of a list that was rebuilt meanwhile",
        (Edit(LISTS, " or self.before.value != self.after.value:", ":"),),
        (TAIL_HINT_TESTS + "test_a_list_that_is_rebuilt_between_two_commands_has_no_head",),
    ),
    Planted(
        "store a tail hint although the list has another marker",
        (
            Edit(
                f"{LUA}/store_tail_hint.lua",
                "redis.call('LINDEX', KEYS[1], -1) == ARGV[1]",
                "redis.call('EXISTS', KEYS[1]) == 1",
            ),
        ),
        (TAIL_HINT_TESTS + "test_a_tail_hint_of_an_earlier_list_is_not_stored",),
    ),
    Planted(
        "finish a list without a token of its own",
        (Edit(f"{LUA}/finish_list.lua", " .. ':' .. string.sub(ARGV[1], 2)", ""),),
        (TAIL_HINT_TESTS + "test_a_tail_hint_of_an_earlier_list_is_not_stored",),
    ),
    Planted(
        "trim without a new token",
        (
            Edit(
                f"{LUA}/trim.lua",
                "    marker = 'f' .. floor .. ':' .. token\n",
                "    marker = string.gsub(marker, '%d+', floor, 1)\n",
            ),
        ),
        (TAIL_HINT_TESTS + "test_a_trim_removes_the_tail_hint",),
    ),
    Planted(
        "use the near cache although a put was missed",
        (
            Edit(
                LOG,
                "return found if not found or found[0].number == number + 1 else None",
                "return found",
            ),
        ),
        (NEAR_CACHE_TESTS + "test_the_near_cache_starts_again_after_a_missed_put",),
    ),
    Planted(
        "use the near cache although the log was lost",
        (Edit(LOG, "if not entries or entries[-1] != (marker, math.inf):", "if not entries:"),),
        (NEAR_CACHE_TESTS + "test_the_near_cache_starts_again_after_another_log_has_begun",),
    ),
    Planted(
        "use a list that was cached after the home list was read",
        (
            Edit(
                SNAPSHOT, "None if cached is None or cached.load > self.loads else cached", "cached"
            ),
        ),
        (NEAR_CACHE_TESTS + "test_a_read_does_not_use_a_list_that_was_cached_after_it_asked",),
    ),
    Planted(
        "count a load before its lists are whole",
        (
            Edit(
                NEAR_CACHE,
                "        load = now.loads + 1\n",
                "        load = now.loads + 1\n        self._snapshot = replace(now, loads=load)\n",
            ),
        ),
        (NEAR_CACHE_TESTS + "test_a_list_is_not_used_before_it_has_the_puts_since_it_was_read",),
    ),
    Planted(
        "ignore the floors of cached lists",
        (
            Edit(
                NEAR_CACHE,
                "highest = max((lists[author].floor for author in stored), default=0)",
                "highest = 0",
            ),
        ),
        (CELEBRITY_TESTS + "test_sql_answers_below_the_highest_floor_of_the_cached_lists",),
    ),
    Planted(
        "cache a list without the puts since it was read",
        (
            Edit(
                NEAR_CACHE,
                "            if entry.author in stored:\n                self._apply(entry)\n",
                "            pass\n",
            ),
        ),
        (NEAR_CACHE_TESTS + "test_a_list_that_is_cached_late_gets_the_puts_since_it_was_read",),
    ),
    Planted(
        "edit a post and log no invalidation",
        (
            Edit(
                "feedsvc/cache/post_bodies.py",
                "        invalidation_log.add_changed_posts(stores.redis, ids)\n",
                "",
            ),
        ),
        (BODY_TESTS + "test_a_post_that_another_process_deletes_is_gone_from_the_next_page",),
    ),
    Planted(
        "cache a post that was deleted since it was read",
        (
            Edit(
                NEAR_CACHE,
                "for post_id, body in bodies.items() if post_id not in changed",
                "for post_id, body in bodies.items()",
            ),
        ),
        (BODY_TESTS + "test_a_post_that_is_deleted_after_it_was_read_is_not_cached",),
    ),
    Planted(
        "serve cached posts to a newer snapshot",
        (
            Edit(
                NEAR_CACHE,
                "is_usable = now.marker == snapshot.marker and now.number >= snapshot.number",
                "is_usable = True",
            ),
        ),
        (BODY_TESTS + "test_a_snapshot_newer_than_the_near_cache_gets_no_cached_post",),
    ),
    Planted(
        "log a put whose list was refused",
        (
            Edit(
                "feedsvc/cache/celebrity_lists.py",
                "    trip = RoundTrip(stores.redis, stop_on_error=True)\n",
                "    trip = RoundTrip(stores.redis)\n",
            ),
        ),
        (CRASH_TESTS + "test_a_put_whose_list_is_refused_reaches_neither_celebrities_nor_the_log",),
    ),
    Planted(
        "log a put before the list is written",
        (Edit("feedsvc/cache/celebrity_lists.py", _WRITE + _NEXT + _PUT, _PUT + _NEXT + _WRITE),),
        (NEAR_CACHE_TESTS + "test_a_list_that_is_cached_in_the_middle_of_a_put_lacks_no_post",),
    ),
    Planted(
        "decide by today's route instead of where the post is",
        (
            Edit(
                "feedsvc/cache/feed_queries.py",
                'lambda post: and_(post.route == "push", post.deleted_at.is_(None))',
                "lambda post: and_("
                'exists().where(Account.id == post.author_id, Account.last_route == "push"), '
                "post.deleted_at.is_(None))",
            ),
            Edit(
                "feedsvc/cache/feed_queries.py",
                "import Follow, Mute, Post",
                "import Account, Follow, Mute, Post",
            ),
        ),
        (FEED_TESTS + "test_pulled_and_pushed_posts_of_one_account_are_merged_in_order",),
    ),
]
