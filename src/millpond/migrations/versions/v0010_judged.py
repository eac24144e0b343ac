"""Delivery: which commit of a task a stage's gates passed last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add a column; of tasks that are on their way to a merge nobody knows, so that a person is asked."""
    op.add_column("delivery_tasks", sa.Column("judged", sa.String, nullable=False, server_default=""))
