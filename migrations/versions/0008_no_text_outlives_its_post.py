"""Forget stored answers, and find the accounts that are being deleted.

A process of the release before goes on storing answers. It gives an empty answer to a repeated
upload whose first one was served by this release.

Revision: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE idempotency_keys SET answer = '' WHERE answer <> ''")
    op.create_index(
        "ix_accounts_deleting",
        "accounts",
        ["id"],
        sqlite_where=sa.text("deleting = 1"),
        postgresql_where=sa.text("deleting"),
    )


def downgrade() -> None:
    op.drop_index("ix_accounts_deleting", "accounts")
