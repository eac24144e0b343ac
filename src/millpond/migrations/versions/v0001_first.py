"""The first schema: catalog, usage, tokens, leases."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    _meta()
    _catalog()
    _usage()
    _tokens_and_leases()


def _meta() -> None:
    meta = op.create_table(
        "meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.bulk_insert(meta, [{"key": "catalog_id", "value": uuid.uuid4().hex}])


def _catalog() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("doomed_at", sa.Double),
        sa.Column("keep_until", sa.Double, nullable=False),
    )
    op.create_index("ix_blobs_doomed_at", "blobs", ["doomed_at"], sqlite_where=sa.text("doomed_at IS NOT NULL"))
    op.create_table(
        "entries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("repository", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("variant", sa.String, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("digest", sa.String, sa.ForeignKey("blobs.digest")),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("content_type", sa.String, nullable=False),
        sa.Column("content_encoding", sa.String, nullable=False),
        sa.Column("etag", sa.String, nullable=False),
        sa.Column("last_modified", sa.String, nullable=False),
        sa.Column("source_url", sa.String, nullable=False),
        sa.Column("stored_at", sa.Double, nullable=False),
        sa.Column("validated_at", sa.Double, nullable=False),
        sa.Column("checked_at", sa.Double, nullable=False),
        sa.Column("fresh_until", sa.Double, nullable=False),
        sa.Column("retry_at", sa.Double, nullable=False),
        sa.Column("refresh_until", sa.Double, nullable=False),
        sa.Column("unchecked", sa.Boolean, nullable=False),
        sa.Column("failure", sa.String, nullable=False),
        sa.Column("local", sa.Boolean, nullable=False),
        sa.Column("last_used", sa.Double, nullable=False),
        sa.Column("uploaded_by", sa.String, nullable=False),
        sa.UniqueConstraint("repository", "path", "variant"),
    )
    op.create_index("ix_entries_digest", "entries", ["digest"])
    op.create_index("ix_entries_last_used", "entries", ["last_used", "id"])
    op.create_index("ix_entries_negative", "entries", ["fresh_until"], sqlite_where=sa.text("digest IS NULL"))


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("repository", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_index("ix_usage_path", "usage", ["repository", "path"])
    op.create_index("ix_usage_at", "usage", ["at"])
    op.create_index("ix_usage_digest", "usage", ["digest"])
    op.create_index("ix_usage_token", "usage", ["token"])


def _tokens_and_leases() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("secret_sha256", sa.String, nullable=False, unique=True),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Column("last_used_at", sa.Double),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("ttl_s", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
