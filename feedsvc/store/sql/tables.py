"""Every table. SQL is the source of truth: each view in Redis can be rebuilt from it.

Ids are 64-bit integers that the database never makes: the app chooses the ids of accounts, and
`feedsvc.post_ids` the ids of posts.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from feedsvc.store.sql.database import UtcDateTime

# SQLite numbers the rows of a table only if the column's type is spelled INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """The declarative base. Constraints have fixed names, so that migrations can refer to them."""

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
    """An account. A follow and its counts change in one transaction."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    follower_count: Mapped[int] = mapped_column(default=0, server_default="0")
    following_count: Mapped[int] = mapped_column(default=0, server_default="0")
    # The route of the latest upload, which an account between the two thresholds keeps. None before
    # the first upload.
    last_route: Mapped[str | None] = mapped_column(String(4))
    # Set while the rows of the account are being deleted: no row may be added any more.
    deleting: Mapped[bool] = mapped_column(default=False, server_default=text("false"))

    __table_args__ = (
        Index(
            "ix_accounts_deleting",
            "id",
            sqlite_where=text("deleting = 1"),
            postgresql_where=text("deleting"),
        ),
    )


class Post(Base):
    """A photo. Its id has the time of the upload.

    A deleted post keeps its author, so that a repeated deletion can be authorised.
    """

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    photo_url: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    # "push": the fan-out moves the post into the home feeds. "pull": the post stays on its author's
    # celebrity list.
    route: Mapped[str] = mapped_column(String(4))
    policy_version: Mapped[int]
    # When the last home feed had the post. Until then the post is on its author's celebrity list. A
    # pulled post stays there for ever.
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


class RemovedPosts(Base):
    """The highest id of all posts whose rows were removed. The table has one row.

    No new post gets an id at or below it.
    """

    __tablename__ = "removed_posts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    highest_id: Mapped[int]

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class Follow(Base):
    """One edge. The primary key serves follower batches. The index serves a viewer's followees."""

    __tablename__ = "follows"

    # No foreign keys: a follow updates the counts of both accounts in its transaction, so the
    # accounts exist and are locked. And 15 million edges load three times as fast.
    followee_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # When the follow began, in whole seconds since 1970. NULL: the follow is older than this
    # column.
    followed_at_seconds: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("followee_id <> follower_id", name="not_oneself"),
        Index("ix_follows_follower_id_followee_id", "follower_id", "followee_id"),
        {"sqlite_with_rowid": False},
    )


class Mute(Base):
    """The posts of `muted_id` are hidden from `account_id`."""

    __tablename__ = "mutes"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    muted_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )

    __table_args__ = (Index("ix_mutes_muted_id", "muted_id"), {"sqlite_with_rowid": False})


class Block(Base):
    """`account_id` blocks `blocked_id`: both are hidden from each other, and neither follows."""

    __tablename__ = "blocks"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    blocked_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )

    __table_args__ = (Index("ix_blocks_blocked_id", "blocked_id"), {"sqlite_with_rowid": False})


class Fanout(Base):
    """The fan-out of one post. Redis has its cursor, and this row its outcome."""

    __tablename__ = "fanouts"

    post_id: Mapped[int] = mapped_column(
        ForeignKey("posts.id"), primary_key=True, autoincrement=False
    )
    author_id: Mapped[int]
    # pending: no link has run. running: between two links. done: every materialised feed has the
    # post, or the post is pulled or deleted.
    state: Mapped[str] = mapped_column(String(7), default="pending")
    # A sweep that sends the fan-out again raises it. A link of an older generation enqueues no next
    # link.
    generation: Mapped[int] = mapped_column(Integer, default=0)
    # How many sweeps in a row found no progress.
    stalls: Mapped[int] = mapped_column(Integer, default=0)
    # When the sweep checks the fan-out: a running one may have stalled, and the post of a done one
    # leaves the celebrity list. None: no check is due.
    next_look_at: Mapped[dt.datetime | None]
    followers: Mapped[int]
    # The follower ids that divide a large fan-out into lanes. The first link chooses them. NULL:
    # not divided, or not yet.
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
    """An effect of a committed transaction on Redis. The row is deleted once it is applied."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    ids: Mapped[list[int]] = mapped_column(JSON)
    made_at: Mapped[dt.datetime]

    __table_args__ = (Index("ix_changes_made_at", "made_at"),)


class Policy(Base):
    """One version of the celebrity threshold. Only `measured` is filled in later, once."""

    __tablename__ = "policies"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    promote_at: Mapped[int]
    demote_at: Mapped[int]
    rollout_percent: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str]
    changed_by: Mapped[str]
    changed_at: Mapped[dt.datetime]
    # A rollback: the old version that this version equals.
    rolled_back_to: Mapped[int | None] = mapped_column(Integer)
    # Whether the operator overruled a guardrail.
    forced: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # The forecast of the cost model when the version was set. NULL: the model had no figures.
    predicted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Until when, and above which figures, the version is rolled back automatically. NULL: never.
    watch: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # The outcome, measured over up to a day while the version governed. NULL: not measured yet.
    measured: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class GuardrailSet(Base):
    """One version of the guardrails: the limits that an operator has set. It is never edited."""

    __tablename__ = "guardrail_sets"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    limits: Mapped[dict[str, Any]]
    reason: Mapped[str]
    changed_by: Mapped[str]
    changed_at: Mapped[dt.datetime]


class LoadSheddingLine(Base):
    """Load shedding: while delivery lags, accounts from a number of followers on are pulled.

    The table has at most one row, and none once delivery has recovered.
    """

    __tablename__ = "relief_lines"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, default=1)
    pull_from: Mapped[int]
    delivery_seconds: Mapped[float]
    since: Mapped[dt.datetime]

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)


class Pin(Base):
    """The route that an operator has fixed for an account."""

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
    """The latest survey, as `feedsvc.planning.survey.aggregates` has it."""

    __tablename__ = "threshold_inputs"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    taken_at: Mapped[dt.datetime]
    data: Mapped[dict[str, Any]]


class Calibration(Base):
    """The work of a calibration, see `feedsvc.store.redis.work.Work`. It is never edited."""

    __tablename__ = "calibrations"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    taken_at: Mapped[dt.datetime]
    machine: Mapped[str]
    # The work. The release before this one stores unit costs here, and uses the next two columns.
    # They are always 0 and empty now, so a later release removes them.
    costs: Mapped[dict[str, Any]]
    workers: Mapped[int] = mapped_column(Integer)
    margins: Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """The post of an upload with an idempotency key. The row is kept for 24 hours."""

    __tablename__ = "idempotency_keys"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    )
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    post_id: Mapped[int]
    # Always empty. The release before this one writes it, so a later release removes the column.
    answer: Mapped[str] = mapped_column(default="")
    made_at: Mapped[dt.datetime]

    __table_args__ = (Index("ix_idempotency_keys_made_at", "made_at"),)
