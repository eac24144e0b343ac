"""The last run of each upkeep task on each host."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table; nothing was run before it."""
    op.create_table(
        "host_runs",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("task", sa.String, primary_key=True),
        sa.Column("ran_at", sa.Double),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("told", sa.String, nullable=False),
    )
