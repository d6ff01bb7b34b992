"""What the job list filters by: groups and structures, and an index in the order of the list for each filter."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FILTERS = ("kind", "code", "owner", "group", "structure", "inchikey")
_LONGEST = 1000


def upgrade() -> None:
    op.add_column("jobs", sa.Column("group", sa.String(length=200), nullable=True))
    op.add_column("jobs", sa.Column("structure", sa.String(length=_LONGEST), nullable=True))
    op.add_column("jobs", sa.Column("inchikey", sa.String(length=27), nullable=True))
    sqlite = op.get_bind().dialect.name == "sqlite"
    # The SMILES of earlier jobs is canonical, too; their InChIKey stays unknown.
    smiles = "json_extract(params, '$.smiles')" if sqlite else "params->>'smiles'"
    op.execute(f"UPDATE jobs SET structure = {smiles} WHERE length({smiles}) <= {_LONGEST}")
    for name in _FILTERS:
        op.create_index(op.f(f"ix_jobs_{name}_seq"), "jobs", [name, "seq"], unique=False)
    op.create_index(op.f("ix_jobs_seq_name"), "jobs", ["seq", "name"], unique=False)
    op.create_index(op.f("ix_jobs_created_at"), "jobs", ["created_at"], unique=False)


def downgrade() -> None:
    # In place: a batch would drop the table that other rows point at.
    op.drop_index(op.f("ix_jobs_created_at"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_seq_name"), table_name="jobs")
    for name in reversed(_FILTERS):
        op.drop_index(op.f(f"ix_jobs_{name}_seq"), table_name="jobs")
    op.drop_column("jobs", "inchikey")
    op.drop_column("jobs", "structure")
    op.drop_column("jobs", "group")
