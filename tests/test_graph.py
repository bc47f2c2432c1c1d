"""Follows, mutes, blocks, imported and generated graphs, and samples of accounts."""

from __future__ import annotations

import gzip
import threading

import pytest
import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import Forbidden, Invalid, NotFound, StoreUnavailable
from feedsvc.feed import reader
from feedsvc.graph import accounts, deletion, follows, generate, hiding, sample
from feedsvc.graph.follows import FollowChange
from feedsvc.graph.importer import GraphMalformed, GraphUnreadable, import_graph
from feedsvc.graph.stats import graph_stats
from feedsvc.posts import read
from feedsvc.store.sql.tables import Account, Block, Follow

LARGEST_ID = 2**63 - 1


def counted(stores, account):
    info = accounts.get(stores, account)
    return info.follower_count, info.following_count


def test_counts_move_with_follows_and_repeats_change_nothing(world):
    world.people(1, 2, LARGEST_ID)
    for _ in range(2):
        world.follow(1, LARGEST_ID)
        world.follow(2, LARGEST_ID)
    assert (counted(world.stores, LARGEST_ID), counted(world.stores, 1)) == ((2, 0), (0, 1))
    for _ in range(2):
        world.unfollow(1, LARGEST_ID)
    assert (counted(world.stores, LARGEST_ID), counted(world.stores, 1)) == ((1, 0), (0, 0))


def test_a_follow_of_oneself_an_unknown_account_or_across_a_block_is_refused(world):
    world.people(1, 2)
    with pytest.raises(Invalid):
        follows.follow(world.stores, 1, 1)
    with pytest.raises(NotFound):
        follows.follow(world.stores, 1, 3)
    with pytest.raises(NotFound):
        follows.follow(world.stores, 3, 1)
    hiding.block(world.stores, 2, 1)
    with pytest.raises(NotFound):
        follows.follow(world.stores, 1, 2)
    with pytest.raises(Forbidden):
        follows.follow(world.stores, 2, 1)
    with pytest.raises(Invalid):
        hiding.mute(world.stores, 1, 1)


def test_a_block_ends_the_follows_both_ways(world):
    world.people(1, 2)
    world.follow(1, 2)
    world.follow(2, 1)
    world.block(1, 2)
    assert counted(world.stores, 1) == counted(world.stores, 2) == (0, 0)
    assert [info.id for info in hiding.blocks(world.stores, 1, None, 10).items] == [2]
    assert hiding.blocks(world.stores, 2, None, 10).items == []


def test_counts_are_exact_with_many_concurrent_clients(world, make_stores):
    world.people(9, *range(1, 9))

    def client(stores, account):
        for _ in range(6):
            follows.follow(stores, account, 9)
            follows.follow(stores, 9, account)
            follows.unfollow(stores, account, 9)
        follows.follow(stores, account, 9)

    threads = [
        threading.Thread(target=client, args=(make_stores(), account)) for account in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(world.stores, 9) == (8, 8)


def test_follower_pages_go_down_by_id_and_back_up(world):
    world.add_followers(9, [3, LARGEST_ID, 5, 7, 4])
    first = follows.followers(world.stores, 9, None, 2)
    second = follows.followers(world.stores, 9, first.next_cursor, 2)
    third = follows.followers(world.stores, 9, second.next_cursor, 2)
    assert [[info.id for info in page.items] for page in (first, second, third)] == [
        [LARGEST_ID, 7],
        [5, 4],
        [3],
    ]
    assert third.next_cursor is None
    assert follows.followers(world.stores, 9, third.prev_cursor, 2).items == second.items
    assert follows.followers(world.stores, 9, first.prev_cursor, 2).items == []
    assert [info.id for info in follows.following(world.stores, 3, None, 2).items] == [9]


def test_a_batch_applies_each_line_and_returns_its_outcome(world):
    world.people(1, 2, 9)
    lines = [
        FollowChange(1, 9, "follow"),
        FollowChange(1, 1, "follow"),
        FollowChange(2, 77, "follow"),
        FollowChange(1, 9, "unfollow"),
    ]
    lines.append(FollowChange(2, 9, "follow"))
    outcomes = follows.apply_batch(world.stores, lines)
    assert [outcome.status for outcome in outcomes] == ["ok", "error", "error", "ok", "ok"]
    assert counted(world.stores, 9) == (1, 0)


def test_a_file_with_comments_repeats_and_blank_lines_is_imported(world, tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text(f"# follower followee\n\n1 9\n2\t9\n  3   9 \n1 9\n% end\n{LARGEST_ID} 9")
    report = import_graph(world.stores, file, skip_malformed=False)
    assert (
        report.lines,
        report.edges,
        report.accounts_created,
        report.follows_created,
        report.repeats,
    ) == (8, 5, 5, 4, 1)
    assert counted(world.stores, 9) == (4, 0)
    again = import_graph(world.stores, file, skip_malformed=False)
    assert (again.accounts_created, again.follows_created, again.repeats) == (0, 0, 5)
    assert counted(world.stores, 9) == (4, 0)


def test_an_import_adds_to_the_graph_and_shows_in_feeds_that_were_read_before(world, tmp_path):
    world.add_followers(9, [1])
    world.people(2)
    world.post(9)
    assert world.is_exact(1, 2)
    compressed = tmp_path / "graph.gz"
    compressed.write_bytes(gzip.compress(b"1 9\n2 9\n"))
    import_graph(world.stores, compressed, skip_malformed=False)
    world.oracle.follow(2, 9)
    assert world.is_exact(1, 2)
    assert counted(world.stores, 9) == (2, 0)


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "1 2 3",
        "1 1",
        "0 1",
        "-1 2",
        "+1 2",
        "1_0 2",
        "01 2",
        f"{2**63} 1",
        "a b",
        "1,2",
        "١ ٢",
        "1.5 2",
        "\ud800 1",
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_imported(stores, tmp_path, line):
    file = tmp_path / "graph.txt"
    file.write_bytes(f"5 6\n{line}\n7 8\n".encode(errors="surrogatepass"))
    with pytest.raises(GraphMalformed, match="line 2"):
        import_graph(stores, file, skip_malformed=False)
    with stores.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Account)) == 0
    report = import_graph(stores, file, skip_malformed=True)
    assert (report.malformed, report.follows_created) == (1, 2)


def test_a_follow_across_a_block_is_left_out(world, tmp_path):
    world.people(1, 2)
    world.block(1, 2)
    file = tmp_path / "graph.txt"
    file.write_text("2 1\n3 1\n")
    report = import_graph(world.stores, file, skip_malformed=False)
    assert (report.refused, report.follows_created, report.repeats) == (1, 1, 0)
    with world.stores.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Block)) == 1


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"1 2\n" * 5000)[:-20], b"\x1f\x8bnonsense", None],
    ids=["cut", "not gzip", "missing"],
)
def test_a_file_that_cannot_be_read_to_its_end_imports_nothing(stores, tmp_path, content):
    file = tmp_path / "graph.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(GraphUnreadable):
        import_graph(stores, file, skip_malformed=True)
    with stores.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Follow)) == 0


def test_a_seed_always_generates_the_same_graph_without_invalid_edges():
    edges = list(generate.generate_edges(500, 7))
    assert edges == list(generate.generate_edges(500, 7))
    assert edges != list(generate.generate_edges(500, 8))
    assert len(edges) == len(set(edges))
    assert all(follower != followee and 1 <= follower <= 500 for follower, followee in edges)


def test_a_generated_graph_has_the_published_distribution():
    accounts_, followers, following = 20_000, {}, {}
    for follower, followee in generate.generate_edges(accounts_, 1):
        followers[followee] = followers.get(followee, 0) + 1
        following[follower] = following.get(follower, 0) + 1
    spread = sorted(followers.get(account, 0) for account in range(1, accounts_ + 1))
    assert spread[accounts_ // 2] == 1
    assert 0.15 < sum(count > 20 for count in spread) / accounts_ < 0.17
    assert 0.01 < spread[-1] / accounts_ <= 0.07
    assert 0.18 < sum(count > 20 for count in following.values()) / accounts_ < 0.26
    assert 10 < sum(spread) / accounts_ < 17


def test_a_generated_graph_is_loaded_with_its_counts(stores):
    generate.load(stores, 300, 1)
    stats = graph_stats(stores)
    assert stats.accounts == 300
    with stores.sql.reading() as connection:
        assert stats.follows == connection.scalar(sa.select(sa.func.sum(Account.follower_count)))
        assert stats.follows == connection.scalar(sa.select(sa.func.sum(Account.following_count)))
    assert sum(stats.by_decade.values()) == 300
    assert stats.percentiles["median"] == 1


def test_a_sample_has_each_account_once_and_at_most_all_accounts(world, stores):
    assert sample.draw(stores, 3) == []
    ids = [1, 2, 3, 5, 8, 2**62, 2**62 + 1, 2**63 - 1]
    world.people(*ids)
    assert sorted(sample.draw(stores, 50)) == sample.draw(stores, None) == ids


def test_every_account_can_be_drawn_into_a_sample(world, stores):
    ids = [1, 2, 3, 5, 8, 2**62, 2**62 + 1, 2**63 - 1]
    world.people(*ids)
    drawn = [sample.draw(stores, 3) for _ in range(300)]
    assert all(len(set(each)) == 3 for each in drawn)
    assert {account for each in drawn for account in each} == set(ids)


def test_a_sample_drawn_in_runs_has_each_account_once(world, stores):
    ids = [1, 2, 3, 5, 8, 2**62, 2**62 + 1, 2**63 - 1]
    world.people(*ids)
    assert sorted(sample.draw(stores, 50, 3)) == ids
    assert all(len(set(sample.draw(stores, 5, 3))) == 5 for _ in range(50))


def test_a_sample_is_drawn_without_scanning_the_accounts(world, stores):
    world.people(*range(1, 20))
    plans = []

    def explain(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT") and stores.sql.is_sqlite:
            plans.extend(
                row[3]
                for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )

    sa.event.listen(stores.sql.engine, "before_cursor_execute", explain)
    sample.draw(stores, 5)
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


@pytest.mark.parametrize(
    "failing",
    [
        [outbox.PostsDeleted],
        [outbox.PostsDeleted, outbox.RelationsChanged],
        [outbox.AccountDeleted],
    ],
)
def test_a_repeated_deletion_has_hidden_everything_when_it_is_answered(world, monkeypatch, failing):
    world.add_followers(9, [1])
    post = world.post(9)
    assert (world.read(1), world.read(9)) == ([post], [post])

    def down(*_):
        raise StoreUnavailable("Redis")

    for effect in failing:
        with monkeypatch.context() as patched:
            patched.setattr(effect, "apply", down)
            with pytest.raises(StoreUnavailable):
                deletion.delete(world.stores, 9)
    try:
        deletion.delete(world.stores, 9)
    except NotFound:
        assert failing == [outbox.AccountDeleted], "only the last step leaves no account behind"
    assert world.read(1) == []
    for gone in (
        lambda: read.one(world.stores, 1, post),
        lambda: reader.home_page(world.stores, 9, None, 2),
    ):
        with pytest.raises(NotFound):
            gone()


def test_an_account_with_many_posts_is_deleted_in_steps_not_post_by_post(world, monkeypatch):
    world.add_followers(9, [1])
    for _ in range(30):
        world.post(9)
    queries, real = [], type(world.stores.sql).reading
    monkeypatch.setattr(
        type(world.stores.sql), "reading", lambda database: queries.append(1) or real(database)
    )
    deletion.delete(world.stores, 9)
    assert len(queries) < 10
    monkeypatch.undo()
    assert world.read(1) == []
