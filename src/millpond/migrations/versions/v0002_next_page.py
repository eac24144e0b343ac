"""Entries of lists that come in pages: the query of the next one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; what is stored already are no such lists."""
    op.add_column("entries", sa.Column("next_page", sa.String, nullable=False, server_default=""))
