"""The tables of the artifacts area, as the migrations make them (a test compares the two)."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

META = sa.Table(
    "meta",
    METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

BLOBS = sa.Table(
    "blobs",
    METADATA,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # Since when no entry needs it; null while one does.
    sa.Column("doomed_at", sa.Double),
    # Found again after the catalog was lost: kept without entries until then, so that it can be adopted by digest.
    sa.Column("keep_until", sa.Double, nullable=False),
    sa.Index("ix_blobs_doomed_at", "doomed_at", sqlite_where=sa.text("doomed_at IS NOT NULL")),
)

ENTRIES = sa.Table(
    "entries",
    METADATA,
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
    sa.Column("next_page", sa.String, nullable=False, server_default=""),
    sa.Column("identity", sa.String, nullable=False, server_default=""),
    sa.Column("local", sa.Boolean, nullable=False),
    sa.Column("last_used", sa.Double, nullable=False),
    sa.Column("uploaded_by", sa.String, nullable=False),
    sa.UniqueConstraint("repository", "path", "variant"),
    sa.Index("ix_entries_digest", "digest"),
    sa.Index("ix_entries_last_used", "last_used", "id"),
    sa.Index("ix_entries_negative", "fresh_until", sqlite_where=sa.text("digest IS NULL")),
)

USAGE = sa.Table(
    "usage",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("repository", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("token", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Index("ix_usage_path", "repository", "path"),
    sa.Index("ix_usage_at", "at"),
    sa.Index("ix_usage_digest", "digest"),
    sa.Index("ix_usage_token", "token"),
)
