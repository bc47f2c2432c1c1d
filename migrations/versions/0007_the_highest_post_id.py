"""Remember the highest id of the posts whose rows were removed.

A process of the release before does not write this row. So the deletion of an account may lower the
highest id until all processes are of this release.

Revision: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    made = op.create_table(
        "removed_posts",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("highest_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_removed_posts_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removed_posts")),
    )
    op.bulk_insert(made, [{"id": 1, "highest_id": 0}])


def downgrade() -> None:
    op.drop_table("removed_posts")
