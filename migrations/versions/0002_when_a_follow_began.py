"""Record when a follow began.

Revision: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: no row is rewritten, and the version before can still insert.
    op.add_column("follows", sa.Column("followed_at_seconds", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("follows", "followed_at_seconds")
