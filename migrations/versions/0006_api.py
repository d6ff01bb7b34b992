"""Tokens of the HTTP API, and what a request that came with an idempotency key looked like."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.add_column("jobs", sa.Column("request_digest", sa.String(length=64), nullable=True))


def downgrade() -> None:
    # In place: a batch would drop the table that other rows point at.
    op.drop_column("jobs", "request_digest")
    op.drop_table("tokens")
