"""Between the ledger's rows and delivery's values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa

from millpond.delivery.model import (
    Evidence,
    Input,
    Job,
    JobState,
    Json,
    Key,
    Nudge,
    Options,
    OutboxItem,
    Phase,
    Task,
)

Row = sa.Row[Any]
_SAME = ("key", "project", "issue", "repo", "branch", "title", "stage", "visit", "attempts", "returns", "not_before")
_ALSO = ("since", "sha", "judged", "reason", "cancelling", "inputs", "shown", "created_at", "version")


def task_of(row: Row) -> Task:
    """Read a task."""
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Task(
        id=values["id"],
        phase=Phase(values["phase"]),
        parked_as=Key(values["parked_as"]) if values["parked_as"] else None,
        used=Input(values["used"]),
        mark=(values["mark_at"], values["mark_id"]),
        options=options_of(values["options"]),
        **{name: values[name] for name in (*_SAME, *_ALSO)},
    )


def task_values(task: Task) -> dict[str, Any]:
    """Write a task; its id is left out."""
    return {
        **{name: getattr(task, name) for name in (*_SAME, *_ALSO)},
        "phase": str(task.phase),
        "parked_as": None if task.parked_as is None else str(task.parked_as),
        "used": str(task.used),
        "mark_at": task.mark[0],
        "mark_id": task.mark[1],
        "options": options_text(task.options),
    }


def options_text(options: Options) -> str:
    """Write a task's options as JSON."""
    return json.dumps(
        {
            "skip": sorted(options.skip),
            "priority": options.priority,
            "task_usd": options.task_usd,
            "after": list(options.after),
            "settings": dict(options.settings),
        }
    )


def options_of(text: str) -> Options:
    """Read a task's options."""
    told = json.loads(text)
    return Options(
        frozenset(told["skip"]), told["priority"], told["task_usd"], tuple(told["after"]), dict(told["settings"])
    )


def job_of(row: Row) -> Job:
    """Read a job."""
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    same = (
        "id",
        "task",
        "project",
        "issue",
        "repo",
        "stage",
        "step",
        "visit",
        "attempt",
        "sha",
        "not_before",
        "timeout_s",
        "usd",
        "turns",
    )
    also = ("worker", "fence", "lease_until", "heartbeat_at", "started_at", "ended_at", "reason", "after_s")
    return Job(
        state=JobState(values["state"]),
        priority=-values["rank"],
        settings=facts_of(values["settings"]),
        stop=bool(values["stop"]),
        settled=bool(values["settled"]),
        **{name: values[name] for name in (*same, *also)},
    )


def evidence_of(row: Row) -> Evidence:
    """Read a piece of evidence."""
    return Evidence(row.kind, facts_of(row.facts), row.sha, row.at, row.visit, row.source)


def nudge_of(row: Row) -> Nudge:
    """Read a nudge."""
    return Nudge(
        row.project, row.issue, row.not_before, row.attempts, row.dirty, bool(row.urgent), row.seen_at, row.fence
    )


def item_of(row: Row) -> OutboxItem:
    """Read a write of the outbox."""
    told = facts_of(row.payload)
    return OutboxItem(
        *(row.id, row.key, row.kind, row.project, row.issue, row.task, told, row.attempts, row.not_before, row.fence)
    )


def facts_of(text: str) -> Mapping[str, Json]:
    """Read a JSON object."""
    return cast("Mapping[str, Json]", json.loads(text))
