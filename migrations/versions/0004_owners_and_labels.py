"""Who handed a job in, for fair shares, and which labels its worker must have."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner", sa.String(length=200), nullable=True))
    op.add_column("jobs", sa.Column("requires", sa.String(length=1000), nullable=True))
    op.add_column("workers", sa.Column("labels", sa.JSON(), nullable=True))


def downgrade() -> None:
    # Column by column: a batch would drop and remake tables that others' rows point at.
    op.drop_column("workers", "labels")
    op.drop_column("jobs", "requires")
    op.drop_column("jobs", "owner")
