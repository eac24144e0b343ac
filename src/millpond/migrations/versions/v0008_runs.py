"""Delivery: which process a run is, on which node, and where its log lies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add columns; runs of before had no process."""
    for column in (
        sa.Column("node", sa.String, nullable=False, server_default=""),
        sa.Column("pid", sa.BigInteger),
        sa.Column("start", sa.BigInteger),
        sa.Column("boot", sa.String, nullable=False, server_default=""),
        sa.Column("log", sa.String, nullable=False, server_default=""),
    ):
        op.add_column("delivery_runs", column)
