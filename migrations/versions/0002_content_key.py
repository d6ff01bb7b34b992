"""What a step was made of: the key under which an identical one finds its result."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("steps", sa.Column("content_key", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_steps_content_key"), "steps", ["content_key"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_steps_content_key"), table_name="steps")
    # In place: a batch would drop the table that other rows point at.
    op.drop_column("steps", "content_key")
