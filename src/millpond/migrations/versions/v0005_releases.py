"""Releases of apps, with the document of each one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table; nothing was released before it."""
    op.create_table(
        "releases",
        sa.Column("app", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("checksum", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("hosts", sa.String, nullable=False),
        sa.Column("images", sa.Text, nullable=False),
        sa.Column("by_whom", sa.String, nullable=False),
        sa.Column("commit_id", sa.String, nullable=False),
        sa.Column("sets", sa.Text, nullable=False),
        sa.Column("restores", sa.Integer),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("began_at", sa.Double),
        sa.Column("activated_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
