"""Delivery: the jobs of a project that money is held back for, found without a look at all that ever ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_HELD = sa.text("state IN ('lost', 'queued', 'running')")


def upgrade() -> None:
    """Add an index."""
    op.create_index("ix_delivery_jobs_owing", "delivery_jobs", ["project"], sqlite_where=_HELD, postgresql_where=_HELD)
