"""Scratch and shared memory of workers, what ready steps wait for, and measured peaks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
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
    op.add_column("steps", sa.Column("passed_over", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    # Column by column: a batch would drop and remake tables that others' rows point at.
    op.drop_column("steps", "passed_over")
    op.drop_column("steps", "waits_for")
    for name in reversed(_WORKERS):
        op.drop_column("workers", name)
    op.drop_index(op.f("ix_peaks_kind_id"), table_name="peaks")
    op.drop_table("peaks")
