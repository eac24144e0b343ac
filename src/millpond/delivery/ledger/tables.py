"""The ledger's tables.

The database itself keeps the rules that must never be broken, whoever writes:

- one open task of an issue (`ux_delivery_tasks_open`),
- one running job of a repo (`ux_delivery_jobs_running`),
- one queued or running job under a dedup key (`ux_delivery_jobs_dedup`), which is the task's id,
- one nudge of an issue, one write in the outbox under an idempotency key, one cost of a claim.

Times are epoch seconds by the database's clock.
"""

from __future__ import annotations

import sqlalchemy as sa

from millpond.delivery.model import ACTIVE, OPEN, JobState

METADATA = sa.MetaData()


def _among(column: str, values: frozenset[str]) -> sa.TextClause:
    """Write a partial index's condition: constants, in one order."""
    return sa.text(f"{column} IN ({', '.join(repr(str(value)) for value in sorted(values))})")


_OPEN = _among("phase", frozenset(OPEN))
_ACTIVE = _among("state", frozenset(ACTIVE))
OWING = _among("state", frozenset({*ACTIVE, JobState.LOST}))
_RUNNING = sa.text(f"state = '{JobState.RUNNING}'")
_QUEUED = sa.text(f"state = '{JobState.QUEUED}'")
_PENDING = sa.text("state = 'pending'")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

TASKS = sa.Table(
    "delivery_tasks",
    METADATA,
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
    sa.Column("judged", sa.String, nullable=False, server_default=""),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("parked_as", sa.String),
    sa.Column("cancelling", sa.String, nullable=False),
    sa.Column("used", sa.String, nullable=False),
    sa.Column("inputs", sa.Integer, nullable=False),
    sa.Column("mark_at", sa.Double, nullable=False),
    sa.Column("mark_id", sa.String, nullable=False),
    sa.Column("shown", sa.String, nullable=False),
    # JSON, as everywhere below: what is in it is never asked for by SQL.
    sa.Column("options", sa.String, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Index("ux_delivery_tasks_open", "project", "issue", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sa.Index("ix_delivery_tasks_issue", "project", "issue", "id"),
    sa.Index("ix_delivery_tasks_key", "key"),
)
JOBS = sa.Table(
    "delivery_jobs",
    METADATA,
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
    # The lower goes first: the priority, turned round.
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
    # Written by heartbeats only, so that nothing else makes a dead worker look alive.
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    sa.Column("queued_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("after_s", sa.Double, nullable=False),
    sa.Column("stop", sa.Boolean, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Index("ux_delivery_jobs_running", "repo", unique=True, sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    sa.Index("ux_delivery_jobs_dedup", "dedup_key", unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    sa.Index("ix_delivery_jobs_queue", "rank", "not_before", "id", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    sa.Index("ix_delivery_jobs_lease", "lease_until", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    sa.Index("ix_delivery_jobs_task", "task", "id"),
    sa.Index("ix_delivery_jobs_owing", "project", sqlite_where=OWING, postgresql_where=OWING),
)
RUNS = sa.Table(
    "delivery_runs",
    METADATA,
    sa.Column("job", sa.BigInteger, primary_key=True),
    sa.Column("fence", sa.BigInteger, primary_key=True),
    sa.Column("worker", sa.String, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("ended", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    # Which process it was, where: the pid means something only together with the start (ticks since that boot).
    sa.Column("node", sa.String, nullable=False, server_default=""),
    sa.Column("pid", sa.BigInteger),
    sa.Column("start", sa.BigInteger),
    sa.Column("boot", sa.String, nullable=False, server_default=""),
    sa.Column("log", sa.String, nullable=False, server_default=""),
)
EVIDENCE = sa.Table(
    "delivery_evidence",
    METADATA,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("task", sa.BigInteger, nullable=False),
    sa.Column("visit", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("sha", sa.String, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("facts", sa.String, nullable=False),
    sa.Index("ix_delivery_evidence_task", "task", "visit"),
)
GATES = sa.Table(
    "delivery_gates",
    METADATA,
    sa.Column("task", sa.BigInteger, primary_key=True),
    sa.Column("visit", sa.Integer, primary_key=True),
    sa.Column("gate", sa.String, primary_key=True),
    sa.Column("stage", sa.String, nullable=False),
    sa.Column("word", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
NUDGES = sa.Table(
    "delivery_nudges",
    METADATA,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("issue", sa.String, primary_key=True),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("dirty", sa.BigInteger, nullable=False),
    sa.Column("urgent", sa.Boolean, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Index("ix_delivery_nudges_due", "not_before"),
)
OUTBOX = sa.Table(
    "delivery_outbox",
    METADATA,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("key", sa.String, nullable=False, unique=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("issue", sa.String, nullable=False),
    sa.Column("task", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.String, nullable=False),
    # pending, sent, or dropped.
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double, nullable=False),
    sa.Column("error", sa.String, nullable=False),
    sa.Index("ix_delivery_outbox_due", "not_before", "id", sqlite_where=_PENDING, postgresql_where=_PENDING),
    sa.Index("ix_delivery_outbox_issue", "project", "issue", sqlite_where=_PENDING, postgresql_where=_PENDING),
)
COSTS = sa.Table(
    "delivery_costs",
    METADATA,
    sa.Column("job", sa.BigInteger, primary_key=True),
    sa.Column("fence", sa.BigInteger, primary_key=True),
    sa.Column("task", sa.BigInteger, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    # Days since the epoch (UTC).
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("usd", sa.Double, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Index("ix_delivery_costs_task", "task"),
    sa.Index("ix_delivery_costs_day", "project", "day"),
)
EVENTS = sa.Table(
    "delivery_events",
    METADATA,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("issue", sa.String, nullable=False),
    sa.Column("task", sa.BigInteger, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Index("ix_delivery_events_task", "task", "id"),
    sa.Index("ix_delivery_events_at", "at"),
)
