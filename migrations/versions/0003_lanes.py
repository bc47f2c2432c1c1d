"""Divide large fan-outs into lanes.

Revision: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: no row is rewritten, and the version before can still insert.
    # While both versions run, a link of the version before may deliver a post that a lane delivers
    # too. Readers drop the repeat.
    op.add_column("fanouts", sa.Column("lane_bounds", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("fanouts", "lane_bounds")
