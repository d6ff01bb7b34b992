"""Who handed a job in, for fair shares, which labels its worker must have, and indexes for a million jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner", sa.String(length=200), nullable=True))
    op.add_column("jobs", sa.Column("requires", sa.String(length=1000), nullable=True))
    # The newest of a state, and what ended before a time, without a look at all jobs there ever were.
    op.create_index(op.f("ix_jobs_state_seq"), "jobs", ["state", "seq"], unique=False)
    op.drop_index(op.f("ix_jobs_state"), table_name="jobs")
    op.create_index(op.f("ix_jobs_finished_at"), "jobs", ["finished_at"], unique=False)
    op.add_column("workers", sa.Column("labels", sa.JSON(), nullable=True))


def downgrade() -> None:
    # Column by column: a batch would drop and remake tables that others' rows point at.
    op.drop_column("workers", "labels")
    op.drop_index(op.f("ix_jobs_finished_at"), table_name="jobs")
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.drop_index(op.f("ix_jobs_state_seq"), table_name="jobs")
    op.drop_column("jobs", "requires")
    op.drop_column("jobs", "owner")
