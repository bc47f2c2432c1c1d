"""Errors to plant in the write path: slices, cursors, and recovery. See tests/planted.py."""

from __future__ import annotations

from tests.planting import Edit, Planted

LUA = "feedsvc/store/redis/lua"
DELIVERY = "feedsvc/store/redis/delivery.py"
CHAIN = "feedsvc/fanout/chain.py"
DONE = "feedsvc/fanout/done.py"
SLICES = "feedsvc/fanout/slices.py"
DELETION = "feedsvc/graph/deletion.py"
TEST_CRASHES = "tests/test_crashes.py"
TEST_FANOUT = "tests/test_fanout.py"
TEST_FEED = "tests/test_feed.py"
DOWN = "tests/test_stores_down.py"

FANOUT = [
    Planted(
        "push without the compare-and-set",
        (
            Edit(
                f"{LUA}/deliver_slice.lua", "if cursor ~= ARGV[1] then\n  return cursor\nend\n", ""
            ),
        ),
        ("tests/test_lists.py::test_a_slice_run_twice_is_delivered_once",),
    ),
    Planted(
        "move the cursor outside the atomic step",
        (
            Edit(f"{LUA}/deliver_slice.lua", "call('HSET', keys[1], 'cursor', ARGV[2])\n", ""),
            Edit(
                DELIVERY,
                "    answers = stream(\n"
                "        stores.redis, DELIVER_SLICE,"
                " lambda: _calls(stores, post_id, author, slices, lane)\n"
                "    )\n"
                "    reached: dict[int, str] = {}\n"
                "    for part, answer in zip(slices, answers, strict=True):\n"
                "        if reached.get(part.bucket, part.start) == part.start:\n"
                "            reached[part.bucket] = answer.decode()\n",
                "    reached: dict[int, str] = {}\n"
                "    for part in slices:\n"
                "        def one_call(): return _calls(stores, post_id, author, [part], lane)\n"
                "        [answer] = stream(stores.redis, DELIVER_SLICE, one_call)\n"
                "        reached[part.bucket] = answer.decode()\n"
                "        key = stores.keys.fanout(post_id, part.bucket, lane.number)\n"
                '        stores.redis.hset(key, "cursor", answer)\n',
            ),
        ),
        (f"{TEST_CRASHES}::test_a_link_that_dies_before_any_step_pushes_into_each_feed_once",),
    ),
    Planted(
        "resume from a copy of the cursor",
        (
            Edit(
                f"{LUA}/deliver_slice.lua",
                "local cursor = call('HGET', keys[1], 'cursor') or ARGV[11]",
                "local cursor = call('HGET', keys[1], 'cursor') or ARGV[1]",
            ),
        ),
        (f"{TEST_FANOUT}::test_a_redis_lost_in_the_middle_of_a_chain_starts_the_chain_again",),
    ),
    Planted(
        "write `done` without reading the cursor",
        (
            Edit(
                DONE,
                "for each in lanes_reached if each.cursor != END]",
                "for each in () if each.cursor != END]",
            ),
        ),
        (f"{TEST_FANOUT}::test_a_redis_lost_before_done_is_written_starts_the_fan_out_again",),
    ),
    Planted(
        "one progress key for two lanes",
        (
            Edit(
                "feedsvc/store/redis/keys.py",
                'return f"{key}:{lane}" if lane else key',
                "return key",
            ),
        ),
        (f"{TEST_FANOUT}::test_a_large_fan_out_is_divided_into_lanes_that_each_have_a_chain",),
    ),
    Planted(
        "leave the cursor of a bucket without followers behind",
        (Edit(SLICES, " if is_only else range(keys.buckets)\n", "\n"),),
        ("tests/test_buckets.py::test_a_batch_also_moves_the_cursor_of_buckets_without_followers",),
    ),
    Planted(
        "page followers by offset",
        (
            Edit(
                "feedsvc/graph/followers.py",
                '        Follow.followee_id == bindparam("followee"),'
                ' Follow.follower_id > bindparam("after")\n    )\n',
                '        Follow.followee_id == bindparam("followee")\n'
                '    ).offset(bindparam("after"))\n',
            ),
            Edit(CHAIN, "else ids[count - 1]", "else str(int(cursor) + count)"),
            Edit(SLICES, "else part[-1]\n", "else str(int(start) + len(part))\n"),
        ),
        (f"{TEST_FANOUT}::test_followers_that_come_and_go_during_a_fan_out_have_exact_feeds",),
    ),
    Planted(
        "take a post off the celebrity list before its last batch",
        (
            Edit(
                CHAIN,
                "            _note_progress(stores, post_id, row.now)\n",
                "            _note_progress(stores, post_id, row.now)\n"
                "        from feedsvc.cache import celebrity_lists\n\n"
                "        from feedsvc.store.sql.tables import Post\n\n"
                "        with stores.sql.writing() as connection:\n"
                "            pushed = update(Post).where(Post.id == post_id)\n"
                "            connection.execute(pushed.values(pushed_at=db_time()))\n"
                "        celebrity_lists.take_off(stores, {post_id: row.author_id})\n",
            ),
        ),
        (f"{TEST_FEED}::test_a_post_is_in_every_followers_feed_while_it_is_pushed_and_after",),
    ),
    Planted(
        "compare ids as doubles",
        (
            Edit(
                f"{LUA}/deliver_slice.lua",
                "if cursor ~= ARGV[1] then",
                "if tonumber(cursor) ~= tonumber(ARGV[1]) then",
            ),
        ),
        ("tests/test_lists.py::test_account_ids_that_tie_as_doubles_are_told_apart",),
    ),
]

PROMISES = [
    Planted(
        "answer before the effects are applied",
        (
            Edit(
                "feedsvc/outbox.py",
                "        for effect in change.effects:\n"
                "            effect.apply(stores)\n"
                "        _delete(stores, row_ids)\n",
                "        pass\n",
            ),
        ),
        (f"{TEST_FEED}::test_a_post_is_in_every_followers_feed_before_any_worker_has_run",),
    ),
    Planted(
        "no sweep of the outbox",
        (Edit("feedsvc/fanout/sweep.py", "applied = outbox.sweep(stores)", "applied = 0"),),
        (f"{TEST_FANOUT}::test_the_sweep_mends_a_crash_between_commit_and_put",),
    ),
    Planted(
        "trust a Valkey whose run id changed",
        (Edit("feedsvc/store/redis/client.py", "    runs.check(connection, run_id())\n", ""),),
        (
            "tests/test_older_redis.py::test_a_redis_snapshot_without_the_latest_pushes_costs_no_post",
        ),
    ),
    Planted(
        "begin a change without a sign of life",
        (Edit("feedsvc/outbox.py", "    add_sign_of_life(trip, stores.redis)\n", ""),),
        (f"{DOWN}::test_a_redis_that_refuses_writes_gets_no_change_and_answers_every_read",),
    ),
    Planted(
        "fail a read because an expiry is refused",
        (Edit("feedsvc/feed/reader.py", 'trip.note("EXPIRE"', 'trip.ask("EXPIRE"'),),
        (f"{DOWN}::test_a_redis_that_refuses_writes_gets_no_change_and_answers_every_read",),
    ),
    Planted(
        "read from a replica",
        (
            Edit(
                f"{LUA}/check_run.lua",
                "== 'slave' then",
                "== 'none' then",
            ),
        ),
        (f"{DOWN}::test_a_redis_that_became_a_replica_is_unavailable_until_it_is_a_primary",),
    ),
    Planted(
        "keep the leases of ids that never were",
        (
            Edit(
                "feedsvc/store/redis/leases.py",
                "trip.script(DROP_LEASE, [keys[index]], lease)",
                "pass",
            ),
        ),
        (f"{DOWN}::test_ids_and_viewers_that_never_were_leave_nothing_in_redis",),
    ),
    Planted(
        "trust a Valkey whose replication id changed",
        (
            Edit(
                f"{LUA}/check_run.lua",
                "  this_run = run .. ' ' .. replication",
                "  this_run = run",
            ),
        ),
        ("tests/test_older_redis.py::test_a_replica_that_lagged_is_emptied_at_its_promotion",),
    ),
    Planted(
        "mark a deleted account and hide its posts later",
        (
            Edit(
                DELETION,
                "            transaction.add(AccountDeleted(account))\n    if not exists:\n",
                "            pass\n    if not exists:\n",
            ),
        ),
        ("tests/test_deletion.py::test_posts_are_hidden_from_the_mark_on_and_the_sweep_finishes",),
    ),
    Planted(
        "leave the deletion of a process that died as it is",
        (Edit("feedsvc/tasks.py", "    deletion.sweep(stores)\n", ""),),
        ("tests/environments/test_deletion.py",),
    ),
    Planted(
        "go on with a deletion that another process has finished",
        (
            Edit(
                DELETION,
                '    return connection.scalar(_CLAIM, {"account": account}) is not None\n',
                '    connection.scalar(_CLAIM, {"account": account})\n    return True\n',
            ),
        ),
        ("tests/test_deletion.py::test_a_stale_step_does_not_touch_a_new_account",),
    ),
    Planted(
        "remove an account that has got new posts and follows",
        (Edit(DELETION, 'connection.scalar(_HAS_MORE, {"account": account})', "False"),),
        ("tests/test_deletion.py::test_a_stale_last_step_spares_a_new_account_that_is_marked",),
    ),
]
