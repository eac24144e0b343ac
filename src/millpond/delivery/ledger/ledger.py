"""The ledger: what delivery knows, in one database. Tasks here; jobs, nudges and the outbox are parts of it.

Each method is one transaction, and every commit has a name (`books.Point`). What people order (release, park, cancel,
a verdict) is written into the same rows that `decide` reads, never carried out beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.delivery.board.verdicts import MAX_REASON, names_one
from millpond.delivery.deciding.actions import Action, CreateTask, ParkTask, Release, StopJob, Tell, UseVerdict
from millpond.delivery.deciding.ending import SHORT
from millpond.delivery.deciding.failing import stop
from millpond.delivery.deciding.folding import by_command, verdict
from millpond.delivery.deciding.gates import Ruling, awaits_person
from millpond.delivery.deciding.looking import unbegun
from millpond.delivery.definition import MAX_USD
from millpond.delivery.ledger import applying
from millpond.delivery.ledger.applying import Applied, carry_out, locked_task
from millpond.delivery.ledger.books import Books, Point, note
from millpond.delivery.ledger.nudging import Nudges, nudge
from millpond.delivery.ledger.outbox import Outbox
from millpond.delivery.ledger.queue import JobQueue
from millpond.delivery.ledger.rows import evidence_of, task_of, task_values
from millpond.delivery.ledger.runrecords import RunRecords
from millpond.delivery.ledger.tables import EVENTS, EVIDENCE, GATES, JOBS, TASKS
from millpond.delivery.model import (
    ACTIVE,
    OPEN,
    Evidence,
    Issue,
    JobState,
    Json,
    Key,
    Phase,
    Project,
    Spend,
    Task,
)
from millpond.delivery.pipeline import GateRule
from millpond.errors import BadRequest, Conflict, NotFound

MAX_EVIDENCE = 1000
_T = TASKS.c


class Ledger:
    """The records of one Millpond."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.jobs, self.nudges, self.outbox = JobQueue(books), Nudges(books), Outbox(books)
        self.runs = RunRecords(books)

    # what decide needs

    async def last_task(self, project: str, issue: str) -> Task | None:
        """Give an issue's last task, open or not."""
        return await self._books.read(lambda connection: applying.last_task(connection, project, issue))

    async def evidence(self, task: Task) -> list[Evidence]:
        """Give what this visit of a task showed."""
        mine = sa.and_(EVIDENCE.c.task == task.id, EVIDENCE.c.visit == task.visit)
        query = sa.select(EVIDENCE).where(mine).order_by(EVIDENCE.c.id.desc()).limit(MAX_EVIDENCE)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [evidence_of(row) for row in reversed(rows)]

    async def history(self, task: Task) -> list[Evidence]:
        """Give what a task showed in all of its visits, the newest of it."""
        query = sa.select(EVIDENCE).where(EVIDENCE.c.task == task.id).order_by(EVIDENCE.c.id.desc()).limit(MAX_EVIDENCE)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [evidence_of(row) for row in reversed(rows)]

    async def spend(self, task: Task) -> Spend:
        """Give what a task and its project today have spent, and what active jobs may still spend."""
        return await self._books.read(
            lambda connection: applying.spend(connection, self._books.now(connection), task.project, task.id)
        )

    async def now(self) -> float:
        """Read the database's clock."""
        return await self._books.read(self._books.now)

    # what decide orders

    async def create_task(self, project: Project, issue: Issue, action: CreateTask) -> tuple[Task, bool]:
        """Make the one open task of an issue. Of all who try at once one is told True; all are given the same task."""
        return await self._books.write(
            Point.CREATE,
            lambda connection: applying.create(connection, self._books.now(connection), project, issue, action),
        )

    async def apply(
        self,
        project: Project,
        issue: Issue,
        seen: Task | None,
        actions: Sequence[Action],
        rulings: Collection[tuple[GateRule, Ruling]] = (),
    ) -> Applied:
        """Carry out a decision about `seen`, the issue's last task as it was read before the tracker was.

        Raises `ValueError` where something may not happen, `Conflict` where a job is active already; nothing is done.
        """

        def write(connection: Connection) -> Applied:
            now = self._books.now(connection)
            applied = applying.apply(connection, now, project, issue, seen, actions)
            if applied.done and seen is not None and rulings:
                _rulings(connection, seen, rulings, now)
            return applied

        return await self._books.write(Point.APPLY, write)

    # what people order

    async def release(self, task: int, by: str, *, task_usd: float | None = None) -> Task:
        """Let a parked task go on, perhaps with another budget, or one that waits for others wait no more.

        Raises `NotFound`, `Conflict`, `BadRequest`.
        """
        if task_usd is not None and not 0 < task_usd <= MAX_USD:
            raise BadRequest(f"a budget is more than 0 and at most {MAX_USD:.0f} USD")

        def change(connection: Connection, now: float, found: Task) -> Task:
            waits = unbegun(found) and bool(found.options.after)
            if found.phase is not Phase.PARKED and not waits:
                raise Conflict(f"{found.key} is {found.phase}, not parked; there is nothing to release")
            if task_usd is not None:
                spent = applying.spend(connection, now, found.project, found.id).task_usd
                if task_usd <= spent:
                    text = f"{found.key} has spent {spent:.2f} USD already, so that {task_usd:.2f} would be no budget"
                    raise BadRequest(f"{text}: write --usd with what all of it may cost, more than {spent:.2f}")
                found = _put(connection, replace(found, options=replace(found.options, task_usd=task_usd)))
            if waits:
                free = replace(found, options=replace(found.options, after=()), version=found.version + 1)
                return _put(connection, free)
            return carry_out(connection, now, found, [Release()])

        return await self._by_person(Point.RELEASE, task, by, "release-ordered", change)

    async def hurry(self, task: int, by: str) -> Task:
        """Have the next attempt made now: a parked task goes on, one that backs off waits no more.

        Raises `NotFound`, `Conflict`.
        """

        def change(connection: Connection, now: float, found: Task) -> Task:
            if found.phase is Phase.PARKED:
                return carry_out(connection, now, found, [Release()])
            if found.phase is not Phase.READY or found.not_before <= now:
                raise Conflict(f"{found.key} is {found.phase}; there is no attempt to make sooner")
            return _put(connection, replace(found, not_before=0.0, version=found.version + 1))

        return await self._by_person(Point.HURRY, task, by, "retry-ordered", change)

    async def park(self, task: int, by: str, reason: str) -> Task:
        """Hold a task that has no active job, until it is released; says so on the issue.

        Raises `NotFound`, `Conflict`, `BadRequest`.
        """
        if not 0 < len(reason) <= MAX_REASON:
            raise BadRequest(f"a reason has 1 to {MAX_REASON} characters")

        def change(connection: Connection, now: float, found: Task) -> Task:
            if found.phase not in {Phase.READY, Phase.GATED}:
                raise Conflict(f"{found.key} is {found.phase}; only a task without a job can be parked")
            text = f"{found.key} is parked by {by}: {reason}{stop(reason)}"
            told = Tell(
                f"{text} To go on, run `millpond task release {found.key}`.", f"{found.id}:{found.visit}:parked"
            )
            held = ParkTask(f"{reason} ({by})", Key.NEEDS_INPUT, stands=True)  # nobody looks at the board here
            return carry_out(connection, now, found, [held, told])

        return await self._by_person(Point.PARK, task, by, "park-ordered", change)

    async def cancel(self, task: int, by: str) -> Task:
        """Take a task back: its job is asked to stop, then it ends. Raises `NotFound`, `Conflict`."""

        def change(connection: Connection, now: float, found: Task) -> Task:
            if not found.open:
                raise Conflict(f"{found.key} is {found.phase} already")
            active = sa.select(JOBS.c.id).where(JOBS.c.task == task, JOBS.c.state.in_(sorted(ACTIVE)))
            stops = [StopJob(row.id, f"cancelled by {by}") for row in connection.execute(active)]
            asked = _put(connection, replace(found, cancelling=by, version=found.version + 1))
            return carry_out(connection, now, asked, stops)

        return await self._by_person(Point.CANCEL, task, by, "cancel-ordered", change)

    async def say(self, task: int, by: str, *, approved: bool, reason: str = "", commit: str = "") -> Task:
        """Give a person's verdict, perhaps with its reason, on what a task waits with at a gate.

        `commit`: the beginning of the name of the one that is meant; empty: what the task is at. Raises `NotFound`,
        `Conflict`, `BadRequest`.
        """
        if len(reason) > MAX_REASON:
            raise BadRequest(f"a reason has at most {MAX_REASON} characters")

        def change(connection: Connection, now: float, found: Task) -> Task:
            if found.phase is not Phase.GATED:
                raise Conflict(f"{found.key} is {found.phase}; it waits at no gate")
            if not _awaits_person(connection, found):
                text = f"{found.key} waits for no person's verdict at {found.stage} now"
                raise Conflict(f"{text}: `millpond why {found.key}` says what for")
            if commit and not names_one(commit.casefold(), (found.sha,)):
                text = f"{found.key} is at {found.sha[:SHORT] or 'no commit yet'}, not at {commit[:SHORT]}"
                raise Conflict(f"{text}: look at what it is at, and give the verdict on that")
            said = UseVerdict(approved, by, found.mark, reason=reason)
            applying.show(connection, now, found, verdict(found, said, now))
            return _put(connection, by_command(found))

        return await self._by_person(Point.VERDICT, task, by, "approved" if approved else "rejected", change, reason)

    # what is shown

    async def task(self, task: int) -> Task | None:
        """Give a task."""
        query = sa.select(TASKS).where(_T.id == task)
        row = await self._books.read(lambda connection: connection.execute(query).one_or_none())
        return task_of(row) if row is not None else None

    async def by_key(self, key: str) -> Task | None:
        """Give the last task of a key, such as ``SH-12``."""
        query = sa.select(TASKS).where(_T.key == key).order_by(_T.id.desc()).limit(1)
        row = await self._books.read(lambda connection: connection.execute(query).one_or_none())
        return task_of(row) if row is not None else None

    async def open_tasks(self, project: str) -> list[Task]:
        """Give a project's open tasks, the oldest first."""
        mine = sa.and_(_T.project == project, _T.phase.in_(sorted(OPEN)))
        query = sa.select(TASKS).where(mine).order_by(_T.id)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [task_of(row) for row in rows]

    async def events(self, task: int, limit: int = 1000) -> list[str]:
        """Give the names of what happened to a task, the oldest first."""
        query = sa.select(EVENTS.c.what).where(EVENTS.c.task == task).order_by(EVENTS.c.id).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [row.what for row in rows]

    async def counts(self) -> dict[str, int]:
        """Count jobs by state."""
        query = sa.select(JOBS.c.state, sa.func.count().label("n")).group_by(JOBS.c.state)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return {str(state): 0 for state in JobState} | {row.state: row.n for row in rows}

    async def _by_person(
        self,
        point: Point,
        task: int,
        by: str,
        what: str,
        change: Callable[[Connection, float, Task], Task],
        reason: str = "",
    ) -> Task:
        """Change a task as a person orders, write it down, and have the issue looked at."""

        def write(connection: Connection) -> Task:
            found = locked_task(connection, task)
            if found is None:
                raise NotFound(f"there is no task {task}")
            now = self._books.now(connection)
            after = change(connection, now, found)
            why: dict[str, Json] = {"reason": reason} if reason else {}
            note(connection, now, (after.project, after.issue, after.id), what, by=by, **why)
            nudge(connection, now, after.project, after.issue, urgent=True)
            return after

        return await self._books.write(point, write)


def _put(connection: Connection, task: Task) -> Task:
    connection.execute(sa.update(TASKS).where(_T.id == task.id).values(**task_values(task)))
    return task


def _awaits_person(connection: Connection, task: Task) -> bool:
    """Whether a person's verdict was awaited when its gates were last looked at; before that nobody knows, and it may.

    That spares people the belief that they said something. What a verdict does is decided by the gates themselves.
    """
    mine = sa.and_(GATES.c.task == task.id, GATES.c.visit == task.visit)
    told = connection.execute(sa.select(GATES.c.gate, GATES.c.word).where(mine)).all()
    return awaits_person(((row.gate.partition(":")[2], row.word) for row in told), unseen=True)


def _rulings(connection: Connection, task: Task, rulings: Collection[tuple[GateRule, Ruling]], now: float) -> None:
    """Write down what gates said last, for people to see; `decide` asks them again."""
    mine = sa.and_(GATES.c.task == task.id, GATES.c.visit == task.visit)
    connection.execute(sa.delete(GATES).where(mine))
    for index, (rule, ruling) in enumerate(rulings):
        told = {"word": str(ruling.word), "reason": ruling.reason, "stage": task.stage, "at": now}
        name = f"{index}:{rule.name}"
        connection.execute(sa.insert(GATES).values(task=task.id, visit=task.visit, gate=name, **told))
