"""Cursors, and walks over lists of posts. Pure."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc import paging
from feedsvc.errors import BadCursor
from feedsvc.paging import Item, Kind, Newer, Older, decode, encode

ids = st.integers(0, 2**62)
cursors = st.one_of(st.integers(1, 2**62).map(Older), st.builds(Newer, ids))


class Posts:
    """A list of posts in memory."""

    def __init__(self, visible):
        self.visible = set(visible)

    def below(self, position, count):
        return [
            Item(i, str(i).encode()) for i in sorted(self.visible, reverse=True) if i < position
        ][:count]

    def above(self, position, shown, count):
        return [
            Item(i, str(i).encode())
            for i in sorted(self.visible)
            if i > position and i not in shown
        ][:count]

    def ids_above(self, position):
        return [i for i in sorted(self.visible) if i > position]


def page(posts, cursor, limit, watermark):
    return paging.page(posts, Kind.FEED, paging.start(Kind.FEED, cursor), limit, watermark)


@given(st.sampled_from(Kind), cursors, st.sets(st.integers(1, 10**6)))
def test_a_cursor_reads_back_as_it_was_made(kind, cursor, steps):
    if isinstance(cursor, Newer):
        cursor = Newer(cursor.position, tuple(sorted(cursor.position + step for step in steps)))
    assert decode(kind, encode(kind, cursor)) == cursor


@given(st.sampled_from(Kind), cursors, st.data())
def test_a_cursor_that_was_tampered_with_is_refused(kind, cursor, data):
    text = encode(kind, cursor)
    at = data.draw(st.integers(0, len(text) - 1))
    tampered = data.draw(
        st.sampled_from(
            [
                text[:at],
                text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :],
                text + "AAAA",
            ]
        )
    )
    with suppress(BadCursor):
        assert decode(kind, tampered) == cursor, "only unused bits may differ"


@given(cursors)
def test_another_lists_cursor_is_refused(cursor):
    with pytest.raises(BadCursor):
        decode(Kind.FEED, encode(Kind.PROFILE, cursor))


@pytest.mark.parametrize("cursor", [Older(0), Older(2**63 + 1), Newer(2**63)])
def test_a_position_out_of_range_is_refused(cursor):
    with pytest.raises(BadCursor):
        decode(Kind.FEED, encode(Kind.FEED, cursor))


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text):
    with pytest.raises(BadCursor):
        decode(Kind.FEED, text)


@given(st.sets(st.integers(1, 60)), st.integers(1, 7), st.integers(0, 70))
def test_a_walk_down_shows_each_post_once_on_full_pages(visible, limit, watermark):
    posts, shown, cursor = Posts(visible), [], None
    while True:
        found = page(posts, cursor, limit, watermark)
        shown += map(int, found.items)
        cursor = found.next_cursor
        if cursor is None:
            break
        assert len(found.items) == limit
    assert shown == sorted(visible, reverse=True)


@given(
    st.lists(st.sets(st.integers(1, 60), max_size=6), min_size=1, max_size=8),
    st.integers(1, 4),
    st.data(),
)
def test_polling_shows_a_late_commit_once(commits, limit, data):
    """No id appears at or below the watermark. Above it ids appear in any order."""
    posts, watermark = Posts(commits[0]), 0
    found = page(posts, None, limit, watermark)
    below = {i for i in posts.visible if i < min(map(int, found.items), default=0)}
    shown = list(map(int, found.items))
    for batch in commits[1:]:
        posts.visible |= {i for i in batch if i > watermark}
        watermark = data.draw(st.integers(watermark, 60))
        found = page(posts, found.prev_cursor, limit, watermark)
        shown += map(int, found.items)
    while found.items:
        found = page(posts, found.prev_cursor, limit, watermark)
        shown += map(int, found.items)
    assert sorted(shown) == sorted(posts.visible - below)


@given(st.sets(st.integers(1, 60), min_size=1), st.integers(1, 5))
def test_a_page_reached_upwards_equals_the_page_left_downwards(visible, limit):
    posts = Posts(visible)
    first = page(posts, None, limit, 60)
    if first.next_cursor is not None:
        second = page(posts, first.next_cursor, limit, 60)
        back = page(posts, second.prev_cursor, limit, 60)
        assert back.items == first.items
        assert back.next_cursor == first.next_cursor
