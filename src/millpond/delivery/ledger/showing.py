"""What the ledger shows people, loops and metrics. Nothing is decided by it but when to look again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.delivery.breaker import Ended
from millpond.delivery.deciding.gates import Word
from millpond.delivery.deciding.summary import Holding
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.outbox import first
from millpond.delivery.ledger.queue import DAY_S, next_due
from millpond.delivery.ledger.rows import facts_of, task_of
from millpond.delivery.ledger.tables import COSTS, EVENTS, GATES, JOBS, NUDGES, OUTBOX, RUNS, TASKS
from millpond.delivery.model import ACTIVE, OPEN, JobState, Json, Phase, Task

PASSING = (JobState.RETRY, JobState.LOST)
"""Ends of jobs that may pass."""
SILENT = (JobState.CANCELLED, JobState.LATER)
"""Ends of jobs that say nothing of the world."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a task."""

    id: int
    at: float
    what: str
    detail: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Waiting:
    """When something is due next: epoch seconds of the database's clock; None: nothing is."""

    now: float
    nudge: float | None
    outbox: float | None
    job: float | None


MAX_KEYS = 10_000
ENTERED = ("created", "sent-back", "gates-passed", "pushed-by-somebody", "parked", "released")
"""Events with which a task comes into a stage (`deciding.words`), goes on from one, or stops in it for a reason of its
own."""


class Showing:
    """Reads of one ledger, each on one snapshot."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def tasks(self, *, project: str | None = None, ended: bool = True, limit: int = 100) -> list[Task]:
        """Give tasks, the newest first; `ended`: those too that have ended."""
        query = sa.select(TASKS).order_by(TASKS.c.id.desc()).limit(limit)
        query = query if project is None else query.where(TASKS.c.project == project)
        query = query if ended else query.where(TASKS.c.phase.in_(sorted(OPEN)))
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [task_of(row) for row in rows]

    async def recent(self, limit: int = 20) -> list[Task]:
        """Give the tasks that changed last, the newest change first."""
        query = sa.select(TASKS).order_by(TASKS.c.since.desc(), TASKS.c.id.desc()).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [task_of(row) for row in rows]

    async def phases(self) -> dict[str, int]:
        """Count tasks by phase."""
        query = sa.select(TASKS.c.phase, sa.func.count().label("n")).group_by(TASKS.c.phase)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return {str(phase): 0 for phase in Phase} | {row.phase: row.n for row in rows}

    async def active(self, steps: Collection[str]) -> int:
        """Count the jobs that are active in some steps."""
        mine = sa.and_(JOBS.c.step.in_(sorted(steps)), JOBS.c.state.in_(sorted(ACTIVE)))
        query = sa.select(sa.func.count()).select_from(JOBS).where(mine)
        return await self._books.read(lambda connection: connection.execute(query).scalar_one())

    async def backlog(self) -> dict[str, int]:
        """Count nudges, and the writes that have not left."""

        def read(connection: Connection) -> dict[str, int]:
            nudges = sa.select(sa.func.count()).select_from(NUDGES)
            writes = sa.select(sa.func.count()).select_from(OUTBOX).where(OUTBOX.c.state == "pending")
            failing = writes.where(OUTBOX.c.attempts > 0)
            counted = {"nudges": nudges, "outbox": writes, "outbox_failing": failing}
            return {name: connection.execute(query).scalar_one() for name, query in counted.items()}

        return await self._books.read(read)

    async def waiting(self, most: int, steps: Collection[str] | None = None) -> Waiting:
        """Say when what may be taken next.

        `most` and `steps`: as in `JobQueue.claim`. What is held up by another (a job by its repo's, a move by an older
        one) is not due: the other's end, or its lease's, tells.
        """

        def read(connection: Connection) -> Waiting:
            held = sa.case(
                (NUDGES.c.lease_until > NUDGES.c.not_before, NUDGES.c.lease_until), else_=NUDGES.c.not_before
            )
            kept = sa.case(
                (OUTBOX.c.lease_until > OUTBOX.c.not_before, OUTBOX.c.lease_until), else_=OUTBOX.c.not_before
            )
            sendable = sa.and_(OUTBOX.c.state == "pending", first())
            return Waiting(
                self._books.now(connection),
                connection.execute(sa.select(sa.func.min(held))).scalar_one(),
                connection.execute(sa.select(sa.func.min(kept)).where(sendable)).scalar_one(),
                next_due(connection, most, steps),
            )

        return await self._books.read(read)

    async def events(self, task: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Give what happened to a task, the oldest first, behind the event `after`."""
        mine = sa.and_(EVENTS.c.task == task, EVENTS.c.id > after)
        query = sa.select(EVENTS).where(mine).order_by(EVENTS.c.id).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [Event(row.id, row.at, row.what, facts_of(row.detail)) for row in rows]

    async def sent_back(self, task: int) -> str:
        """Say why a task does a stage again; empty: it came there in another way."""
        mine = sa.and_(EVENTS.c.task == task, EVENTS.c.what.in_(ENTERED))
        query = sa.select(EVENTS).where(mine).order_by(EVENTS.c.id.desc()).limit(1)
        row = await self._books.read(lambda connection: connection.execute(query).one_or_none())
        return str(facts_of(row.detail).get("reason", "")) if row is not None and row.what == "sent-back" else ""

    async def holding(self, tasks: Collection[Task]) -> dict[int, Holding]:
        """Give what holds up each of some tasks, by their number: active jobs, gates that wait, tasks that are done."""
        shown = {task.id for task in tasks}
        first = [key for task in tasks if task.phase is Phase.READY for key in task.options.after]
        keys = sorted({spelt for key in first[:MAX_KEYS] for spelt in (key, key.upper())})

        def read(connection: Connection) -> dict[int, Holding]:
            now, jobs, waiting = self._books.now(connection), dict[int, str](), dict[int, list[str]]()
            for row in connection.execute(sa.select(JOBS).where(JOBS.c.state.in_(sorted(ACTIVE)))):
                state = "runs" if row.state == JobState.RUNNING else "is queued"
                jobs[row.task] = f"job {row.id} {state}"
            for row in connection.execute(_waiting_gates()):
                waiting.setdefault(row.task, []).append(row.gate.partition(":")[2])
            ended = sa.select(TASKS.c.key, TASKS.c.phase).where(TASKS.c.key.in_(keys)).order_by(TASKS.c.id)
            last = {row.key.casefold(): row.phase for row in connection.execute(ended)} if keys else {}
            done = frozenset(key for key, phase in last.items() if phase == Phase.DONE)
            return {one: Holding(now, jobs.get(one, ""), tuple(waiting.get(one, ())), done) for one in shown}

        return await self._books.read(read)

    async def gates(self, task: Task) -> list[dict[str, Any]]:
        """Give what the gates of a task's present visit said last."""
        mine = sa.and_(GATES.c.task == task.id, GATES.c.visit == task.visit)
        rows = await self._books.read(lambda c: c.execute(sa.select(GATES).where(mine).order_by(GATES.c.gate)).all())
        return [
            {"gate": row.gate.partition(":")[2], "word": row.word, "reason": row.reason, "at": row.at} for row in rows
        ]

    async def spent(self, task: int) -> float:
        """Give what a task has spent; US dollars."""
        query = sa.select(sa.func.coalesce(sa.func.sum(COSTS.c.usd), 0.0)).where(COSTS.c.task == task)
        return await self._books.read(lambda connection: connection.execute(query).scalar_one())

    async def costs(self, task: int) -> dict[int, float]:
        """Give what each job of a task cost, by its number; US dollars; one that is not there told no cost."""
        query = sa.select(COSTS.c.job, sa.func.sum(COSTS.c.usd).label("usd")).where(COSTS.c.task == task)
        rows = await self._books.read(lambda connection: connection.execute(query.group_by(COSTS.c.job)).all())
        return {row.job: row.usd for row in rows}

    async def spent_today(self) -> dict[str, float]:
        """Give what each project has spent today (UTC); US dollars."""

        def read(connection: Connection) -> dict[str, float]:
            day = int(self._books.now(connection) // DAY_S)
            query = sa.select(COSTS.c.project, sa.func.sum(COSTS.c.usd).label("usd")).where(COSTS.c.day == day)
            return {row.project: row.usd for row in connection.execute(query.group_by(COSTS.c.project))}

        return await self._books.read(read)

    async def ended(self, steps: Collection[str], limit: int = 100) -> list[Ended]:
        """Give how the jobs of some steps ended last, the newest first; without those that say nothing."""
        over = sa.and_(JOBS.c.step.in_(sorted(steps)), JOBS.c.ended_at > 0, JOBS.c.state.not_in(SILENT))
        query = sa.select(JOBS.c.task, JOBS.c.ended_at, JOBS.c.state, JOBS.c.reason).where(over)
        query = query.order_by(JOBS.c.id.desc()).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        rows = sorted(rows, key=lambda row: -row.ended_at)
        return [Ended(row.task, row.ended_at, row.state in PASSING, row.reason) for row in rows]

    async def runs(self, task: int) -> list[dict[str, Any]]:
        """Give the runs of a task's jobs, the oldest first."""
        query = sa.select(RUNS).join(JOBS, JOBS.c.id == RUNS.c.job).where(JOBS.c.task == task)
        query = query.order_by(RUNS.c.job, RUNS.c.fence)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it

    async def reaped(self) -> int:
        """Count the jobs whose worker died."""
        query = sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.state == JobState.LOST)
        return await self._books.read(lambda connection: connection.execute(query).scalar_one())


def _waiting_gates() -> sa.Select[tuple[int, str]]:
    """Select the gates of open tasks' present visits that waited when they were last looked at."""
    here = sa.and_(TASKS.c.id == GATES.c.task, TASKS.c.visit == GATES.c.visit, TASKS.c.phase == Phase.GATED)
    query = sa.select(GATES.c.task, GATES.c.gate).join(TASKS, here).where(GATES.c.word == Word.WAITING)
    return query.order_by(GATES.c.task, GATES.c.gate)
