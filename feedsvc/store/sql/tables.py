"""Every table. SQL is the truth; each view in Redis can be made again from these rows.

Account and post ids are 64-bit integers drawn by the apps or by `feedsvc.post_ids`, never by the database.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows by itself only in a column that is spelled INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware UTC time, also on SQLite, which stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """The time in UTC; a naive one is a mistake of ours."""
        if value is None:
            return None
        assert value.tzinfo is not None, "times are aware"
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self, value: dt.datetime | None, _dialect: Dialect
    ) -> dt.datetime | None:
        """The time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """The declarative base; names of constraints are fixed, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        int: BigInteger,
        str: Text,
        dt.datetime: UtcDateTime,
        dict[str, Any]: JSON,
    }


class Account(Base):
    """Somebody who posts, follows and reads. The counts move in the transaction that moves the follow."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    follower_count: Mapped[int] = mapped_column(default=0, server_default="0")
    following_count: Mapped[int] = mapped_column(default=0, server_default="0")
    # The route of the latest upload: what an account between the two thresholds keeps. None before the first.
    last_route: Mapped[str | None] = mapped_column(String(4))
    # Set while its rows are being removed: nothing may be added to it any more.
    deleting: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class Post(Base):
    """A photo. Its id tells when it was made. A deleted one keeps its author, so that deleting again can be judged."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    photo_url: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    # "push": to be moved into the home feeds. "pull": stays on its author's celebrity list.
    route: Mapped[str] = mapped_column(String(4))
    policy_version: Mapped[int]
    # When the last feed had it. Until then, and for ever if it is pulled, it is on its author's celebrity list.
    pushed_at: Mapped[dt.datetime | None]
    deleted_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("route IN ('push', 'pull')", name="route"),
        Index("ix_posts_author_id_id", "author_id", "id"),
        Index(
            "ix_posts_listed",
            "author_id",
            "id",
            sqlite_where=text("pushed_at IS NULL AND deleted_at IS NULL"),
            postgresql_where=text("pushed_at IS NULL AND deleted_at IS NULL"),
        ),
    )


class Follow(Base):
    """One edge. The primary key serves the follower batches, the index the followees of a viewer."""

    __tablename__ = "follows"

    # No foreign keys: a follow updates the counts of both accounts in its transaction, which proves and locks them,
    # and 15 million edges load three times as fast.
    followee_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # When the follow began, in whole seconds since 1970. NULL: before this was recorded.
    followed_at_seconds: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("followee_id <> follower_id", name="not_oneself"),
        Index("ix_follows_follower_id_followee_id", "follower_id", "followee_id"),
        {"sqlite_with_rowid": False},
    )


class Mute(Base):
    """`account_id` does not want to see what `muted_id` posts."""

    __tablename__ = "mutes"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    muted_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )

    __table_args__ = (Index("ix_mutes_muted_id", "muted_id"), {"sqlite_with_rowid": False})


class Block(Base):
    """`account_id` blocks `blocked_id`: each is hidden from the other, and neither follows the other."""

    __tablename__ = "blocks"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    blocked_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )

    __table_args__ = (Index("ix_blocks_blocked_id", "blocked_id"), {"sqlite_with_rowid": False})


class Fanout(Base):
    """The fan-out of one post: its outcome here, its cursor in Redis beside the feeds."""

    __tablename__ = "fanouts"

    post_id: Mapped[int] = mapped_column(
        ForeignKey("posts.id"), primary_key=True, autoincrement=False
    )
    author_id: Mapped[int]
    # pending: no link has run. running: between two links. done: every feed that exists has it, or it is pulled or deleted.
    state: Mapped[str] = mapped_column(String(7), default="pending")
    # A sweep that re-drives the chain raises it; links of an older generation end.
    generation: Mapped[int] = mapped_column(Integer, default=0)
    # Sweeps in a row that found no progress.
    stalls: Mapped[int] = mapped_column(Integer, default=0)
    # When the sweep looks at it again: a running one may have stalled, a done one leaves the celebrity list. None: never.
    next_look_at: Mapped[dt.datetime | None]
    followers: Mapped[int]
    # The follower ids at which a large fan-out is divided into lanes. NULL: not divided (yet); the first link draws them.
    lane_bounds: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    delivered: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    batches: Mapped[int] = mapped_column(Integer, default=0)
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('pending', 'running', 'done')", name="state"),
        Index(
            "ix_fanouts_next_look_at",
            "next_look_at",
            sqlite_where=text("next_look_at IS NOT NULL"),
            postgresql_where=text("next_look_at IS NOT NULL"),
        ),
    )


class OutboxRow(Base):
    """What a committed transaction still owes to Redis; removed once it is applied."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    ids: Mapped[list[int]] = mapped_column(JSON)
    made_at: Mapped[dt.datetime]

    __table_args__ = (Index("ix_changes_made_at", "made_at"),)


class Policy(Base):
    """One version of the celebrity threshold; never edited, but for `measured`, which is filled in once."""

    __tablename__ = "policies"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    promote_at: Mapped[int]
    demote_at: Mapped[int]
    rollout_percent: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str]
    changed_by: Mapped[str]
    changed_at: Mapped[dt.datetime]
    # The old version that this one equals, if it is a rollback.
    rolled_back_to: Mapped[int | None] = mapped_column(Integer)
    # Set although a guardrail would have refused it.
    forced: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # What the cost model expected of it when it was set. NULL: it had no figures.
    predicted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Until when, and above what, it is rolled back by itself. NULL: it is not.
    watch: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # What was measured while it held, up to a day. NULL: not yet.
    measured: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class GuardrailSet(Base):
    """One version of the guardrails: the limits that an operator has set, and no others; never edited."""

    __tablename__ = "guardrail_sets"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    limits: Mapped[dict[str, Any]]
    reason: Mapped[str]
    changed_by: Mapped[str]
    changed_at: Mapped[dt.datetime]


class LoadSheddingLine(Base):
    """At most one row, while delivery lags: accounts with so many followers are pulled until it has recovered."""

    __tablename__ = "relief_lines"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, default=1)
    pull_from: Mapped[int]
    delivery_seconds: Mapped[float]
    since: Mapped[dt.datetime]

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class Pin(Base):
    """An account whose route an operator has fixed."""

    __tablename__ = "pins"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    route: Mapped[str] = mapped_column(String(4))
    reason: Mapped[str]
    expires_at: Mapped[dt.datetime | None]
    pinned_by: Mapped[str]
    pinned_at: Mapped[dt.datetime]

    __table_args__ = (CheckConstraint("route IN ('push', 'pull')", name="route"),)


class StoredSurvey(Base):
    """What the cost model is fed with, as `feedsvc.planning.survey.aggregates` has it; each look removes the rows before it."""

    __tablename__ = "threshold_inputs"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    taken_at: Mapped[dt.datetime]
    data: Mapped[dict[str, Any]]


class Calibration(Base):
    """Unit costs as they were measured once, on one machine; never edited."""

    __tablename__ = "calibrations"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    taken_at: Mapped[dt.datetime]
    machine: Mapped[str]
    # Processes that fan out.
    workers: Mapped[int] = mapped_column(Integer)
    # The fields of `feedsvc.planning.costs.UnitCosts`, and the 95 % half-width of each.
    costs: Mapped[dict[str, Any]]
    margins: Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """The first answer to an upload that came with a key; kept for 24 hours."""

    __tablename__ = "idempotency_keys"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    post_id: Mapped[int]
    answer: Mapped[str]
    made_at: Mapped[dt.datetime]

    __table_args__ = (Index("ix_idempotency_keys_made_at", "made_at"),)
