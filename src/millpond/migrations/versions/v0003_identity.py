"""Entries of formats whose indexes name files by something else than a digest of the whole: what that was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; of what is stored already nobody knows it, so that it is fetched anew when an index changes."""
    op.add_column("entries", sa.Column("identity", sa.String, nullable=False, server_default=""))
