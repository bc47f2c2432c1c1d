"""Lanes

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
    # Nullable and without a default: no row is rewritten, and the version before goes on inserting beside it. While both run, a
    # link of the version before may deliver what a lane delivers too: a repeat, which readers drop.
    op.add_column("fanouts", sa.Column("lane_bounds", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("fanouts", "lane_bounds")
