"""Scratch and shared memory of workers, what ready steps wait for, and measured peaks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WORKERS = {
    "scratch_mib": sa.Integer(),
    "shm_mib": sa.Integer(),
    "scratch_volume": sa.String(length=100),
    "shm_volume": sa.String(length=100),
}


def upgrade() -> None:
    op.create_table(
        "peaks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("memory", sa.Float(), nullable=True),
        sa.Column("scratch", sa.Float(), nullable=True),
        sa.Column("shm", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peaks")),
    )
    op.create_index(op.f("ix_peaks_kind_id"), "peaks", ["kind", "id"], unique=False)
    for name, kind in _WORKERS.items():
        op.add_column("workers", sa.Column(name, kind, nullable=True))
    op.add_column("steps", sa.Column("waits_for", sa.String(), nullable=True))
    # Rows that are there already need a value; the declared column has no default of its own.
    op.add_column("steps", sa.Column("passed_over", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("steps") as batch:
        batch.alter_column("passed_over", existing_type=sa.Integer(), existing_nullable=False, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("steps") as batch:
        batch.drop_column("passed_over")
        batch.drop_column("waits_for")
    with op.batch_alter_table("workers") as batch:
        for name in reversed(_WORKERS):
            batch.drop_column(name)
    op.drop_index(op.f("ix_peaks_kind_id"), table_name="peaks")
    op.drop_table("peaks")
