"""Add guardrails, load shedding, and the forecast and outcome of a change.

Revision: 0005
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable or with a default: no row is rewritten, and the version before can still insert.
    op.add_column("policies", sa.Column("rolled_back_to", sa.Integer(), nullable=True))
    op.add_column(
        "policies", sa.Column("forced", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    for name in ("predicted", "watch", "measured"):
        op.add_column("policies", sa.Column(name, sa.JSON(), nullable=True))
    op.create_table(
        "guardrail_sets",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_guardrail_sets")),
    )
    op.create_table(
        "relief_lines",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pull_from", sa.BigInteger(), nullable=False),
        sa.Column("delivery_seconds", sa.Double(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_relief_lines_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relief_lines")),
    )


def downgrade() -> None:
    op.drop_table("relief_lines")
    op.drop_table("guardrail_sets")
    for name in ("measured", "watch", "predicted", "forced", "rolled_back_to"):
        op.drop_column("policies", name)
