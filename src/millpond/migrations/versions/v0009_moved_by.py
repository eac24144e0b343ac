"""The embedded board: who moved an issue where it stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add a column; of moves of before nobody knows."""
    op.add_column("board_issues", sa.Column("moved_by", sa.String, nullable=False, server_default=""))
