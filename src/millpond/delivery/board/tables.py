"""The tables of the embedded board. The database keeps: one number for each issue, one comment for each key."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

PROJECTS = sa.Table(
    "board_projects",
    METADATA,
    sa.Column("project", sa.String, primary_key=True),
    # Grows with each write to the board: who saw a revision has seen everything up to it.
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("last_number", sa.BigInteger, nullable=False),
)
COLUMNS = sa.Table(
    "board_columns",
    METADATA,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
)
ISSUES = sa.Table(
    "board_issues",
    METADATA,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # Who moved it where it stands; empty: this system.
    sa.Column("moved_by", sa.String, nullable=False, server_default=""),
    sa.Index("ix_board_issues_revision", "project", "revision"),
    sa.Index("ix_board_issues_state", "project", "state", "number"),
)
COMMENTS = sa.Table(
    "board_comments",
    METADATA,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    # This system's own writes have one; NULLs differ from each other, so that people's comments never clash.
    sa.Column("key", sa.String),
    sa.Index("ix_board_comments_issue", "project", "number", "id"),
    sa.Index("ux_board_comments_key", "project", "number", "key", unique=True),
)
