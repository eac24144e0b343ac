"""Delivery: the ledger of tasks, jobs, evidence, nudges and what leaves for the tracker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_OPEN = "phase IN ('gated', 'parked', 'ready', 'working')"
_ACTIVE = "state IN ('queued', 'running')"
_RUNNING = "state = 'running'"
_QUEUED = "state = 'queued'"
_PENDING = "state = 'pending'"
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables; nothing was delivered before."""
    _tasks()
    _jobs()
    _runs()
    _evidence()
    _gates()
    _nudges()
    _outbox()
    _costs()
    _events()


def _index(name: str, table: str, *columns: str, unique: bool = False, where: str = "") -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=condition, postgresql_where=condition)


def _tasks() -> None:
    op.create_table(
        "delivery_tasks",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("issue", sa.String, nullable=False),
        sa.Column("repo", sa.String, nullable=False),
        sa.Column("branch", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("visit", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("returns", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("sha", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("parked_as", sa.String),
        sa.Column("cancelling", sa.String, nullable=False),
        sa.Column("used", sa.String, nullable=False),
        sa.Column("inputs", sa.Integer, nullable=False),
        sa.Column("mark_at", sa.Double, nullable=False),
        sa.Column("mark_id", sa.String, nullable=False),
        sa.Column("shown", sa.String, nullable=False),
        sa.Column("options", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    _index("ux_delivery_tasks_open", "delivery_tasks", "project", "issue", unique=True, where=_OPEN)
    _index("ix_delivery_tasks_issue", "delivery_tasks", "project", "issue", "id")
    _index("ix_delivery_tasks_key", "delivery_tasks", "key")


def _jobs() -> None:
    op.create_table(
        "delivery_jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("task", sa.BigInteger, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("issue", sa.String, nullable=False),
        sa.Column("repo", sa.String, nullable=False),
        sa.Column("dedup_key", sa.String, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("visit", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("sha", sa.String, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("timeout_s", sa.Double, nullable=False),
        sa.Column("usd", sa.Double),
        sa.Column("turns", sa.Integer),
        sa.Column("settings", sa.String, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_s", sa.Double, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
        sa.Column("queued_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("after_s", sa.Double, nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
    )
    _index("ux_delivery_jobs_running", "delivery_jobs", "repo", unique=True, where=_RUNNING)
    _index("ux_delivery_jobs_dedup", "delivery_jobs", "dedup_key", unique=True, where=_ACTIVE)
    _index("ix_delivery_jobs_queue", "delivery_jobs", "rank", "not_before", "id", where=_QUEUED)
    _index("ix_delivery_jobs_lease", "delivery_jobs", "lease_until", where=_RUNNING)
    _index("ix_delivery_jobs_task", "delivery_jobs", "task", "id")


def _runs() -> None:
    op.create_table(
        "delivery_runs",
        sa.Column("job", sa.BigInteger, primary_key=True),
        sa.Column("fence", sa.BigInteger, primary_key=True),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("ended", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )


def _evidence() -> None:
    op.create_table(
        "delivery_evidence",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("task", sa.BigInteger, nullable=False),
        sa.Column("visit", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("sha", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("facts", sa.String, nullable=False),
    )
    _index("ix_delivery_evidence_task", "delivery_evidence", "task", "visit")


def _gates() -> None:
    op.create_table(
        "delivery_gates",
        sa.Column("task", sa.BigInteger, primary_key=True),
        sa.Column("visit", sa.Integer, primary_key=True),
        sa.Column("gate", sa.String, primary_key=True),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("word", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def _nudges() -> None:
    op.create_table(
        "delivery_nudges",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("issue", sa.String, primary_key=True),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("dirty", sa.BigInteger, nullable=False),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
    )
    _index("ix_delivery_nudges_due", "delivery_nudges", "not_before")


def _outbox() -> None:
    op.create_table(
        "delivery_outbox",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("issue", sa.String, nullable=False),
        sa.Column("task", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )
    _index("ix_delivery_outbox_due", "delivery_outbox", "not_before", "id", where=_PENDING)
    _index("ix_delivery_outbox_issue", "delivery_outbox", "project", "issue", where=_PENDING)


def _costs() -> None:
    op.create_table(
        "delivery_costs",
        sa.Column("job", sa.BigInteger, primary_key=True),
        sa.Column("fence", sa.BigInteger, primary_key=True),
        sa.Column("task", sa.BigInteger, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("usd", sa.Double, nullable=False),
        sa.Column("turns", sa.Integer, nullable=False),
    )
    _index("ix_delivery_costs_task", "delivery_costs", "task")
    _index("ix_delivery_costs_day", "delivery_costs", "project", "day")


def _events() -> None:
    op.create_table(
        "delivery_events",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("issue", sa.String, nullable=False),
        sa.Column("task", sa.BigInteger, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )
    _index("ix_delivery_events_task", "delivery_events", "task", "id")
    _index("ix_delivery_events_at", "delivery_events", "at")
