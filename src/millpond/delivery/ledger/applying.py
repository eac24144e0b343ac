"""Carrying out what `decide` ordered: task, jobs, evidence and outbox in one transaction, or nothing of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db.portable import insert_new, one_at_a_time
from millpond.delivery.deciding import spending
from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Alert,
    CreateTask,
    ParkTask,
    SendBack,
    Show,
    StartJob,
    StopJob,
    Succeed,
    Tell,
    TryAgain,
    UseVerdict,
)
from millpond.delivery.deciding.folding import fold, verdict
from millpond.delivery.deciding.words import event
from millpond.delivery.ledger import looks, outbox, queue
from millpond.delivery.ledger.books import note
from millpond.delivery.ledger.queue import DAY_S
from millpond.delivery.ledger.rows import task_of, task_values
from millpond.delivery.ledger.tables import COSTS, EVIDENCE, JOBS, OWING, TASKS
from millpond.delivery.model import ACTIVE, NO_BUDGET, OPEN, Evidence, Issue, JobState, Project, Spend, Task
from millpond.delivery.naming import branch_name, task_key
from millpond.errors import Conflict

MAX_TITLE = 500
OWED_S = 600.0
"""How long a lost job's money is held back for what its worker will say it cost; a node that is gone says nothing."""
_T, _COST = TASKS.c, COSTS.c
_CHANGE = sa.update(TASKS).where(_T.id == sa.bindparam("task_id"))


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a decision. Not `done`: the ledger had moved on, look again."""

    done: bool
    task: Task | None = None


def apply(
    connection: Connection,
    now: float,
    project: Project,
    issue: Issue,
    seen: Task | None,
    actions: Sequence[Action],
) -> Applied:
    """Carry a decision out, if it was about what the ledger holds: `seen` is the issue's last task as it was read."""
    task = last_task(connection, project.name, issue.id, locked=True)
    if (task and (task.id, task.version)) != (seen and (seen.id, seen.version)):
        return Applied(False, task)
    if not _affordable(connection, now, project, task, actions):
        return Applied(False, task)
    for action in actions:
        if isinstance(action, CreateTask):
            task, created = create(connection, now, project, issue, action)
            return Applied(created, task)
    if task is None:
        return Applied(True)
    return Applied(True, carry_out(connection, now, task, actions))


def carry_out(connection: Connection, now: float, task: Task, actions: Iterable[Action]) -> Task:
    """Do several things to a task that is locked. Raises `ValueError` where one may not happen."""
    after = task
    for action in actions:
        _beside(connection, now, after, action)
        after = fold(after, action, now)
        if found := event(action):
            word, detail = found
            about = (task.project, task.issue, task.id)
            note(connection, now, about, word, stage=after.stage, phase=str(after.phase), **detail)
    if after == task:
        return task
    after = replace(after, version=task.version + 1)
    connection.execute(_CHANGE, {"task_id": task.id, **task_values(after)})
    return after


def create(connection: Connection, now: float, project: Project, issue: Issue, action: CreateTask) -> tuple[Task, bool]:
    """Make the open task of an issue, or find the one that there is; only one of all who try has created it."""
    key = task_key(project.prefix, issue.number)
    made = Task(
        *(0, key, project.name, issue.id, project.repo, branch_name(key, issue.title), action.stage),
        title=issue.title[:MAX_TITLE],
        since=now,
        shown=action.state,
        options=action.options,
        created_at=now,
        mark=issue.mark,  # what people said before it began is about nothing of it
    )
    created = insert_new(connection, TASKS, task_values(made))
    is_open = sa.and_(_T.project == project.name, _T.issue == issue.id, _T.phase.in_(sorted(OPEN)))
    task = task_of(connection.execute(sa.select(TASKS).where(is_open)).one())
    if created:
        word, detail = event(action) or ("", {})
        note(connection, now, (task.project, task.issue, task.id), word, key=key, stage=task.stage, **detail)
    return task, created


def spend(connection: Connection, now: float, project: str, task: int) -> Spend:
    """Give what a task and its project today have spent, and what is promised to the project's jobs.

    In one statement, so that a job which ends meanwhile is in neither sum twice, and missing from none.
    """
    return Spend(*connection.execute(spent_and_promised(now, project, task)).one())


def spent_and_promised(now: float, project: str, task: int) -> sa.Select[Any]:
    """Write the statement of `spend`. It looks at no more jobs than hold money back, however many there were."""
    usd = sa.func.coalesce(sa.func.sum(_COST.usd), 0.0)
    today = sa.and_(_COST.project == project, _COST.day == int(now // DAY_S))
    active, owed = JOBS.c.state.in_(sorted(ACTIVE)), _owed(now)
    promised = sa.func.coalesce(sa.func.sum(JOBS.c.usd), 0.0)
    sums = (
        sa.select(usd).where(_COST.task == task),
        sa.select(usd).where(today),
        sa.select(promised).where(JOBS.c.project == project, OWING, sa.or_(active, owed)),
        sa.select(promised).where(JOBS.c.task == task, owed),
    )
    return sa.select(*(one.scalar_subquery() for one in sums))


def _owed(now: float) -> sa.ColumnElement[bool]:
    """Whether a job was lost a short while ago, and what it cost is not counted yet: its run may still be ended."""
    return sa.and_(JOBS.c.state == JobState.LOST, JOBS.c.ended_at > now - OWED_S, ~queue.counted())


def _affordable(
    connection: Connection, now: float, project: Project, task: Task | None, actions: Sequence[Action]
) -> bool:
    """Whether what jobs were granted is still there; nobody else is granted of the project's day meanwhile."""
    for action in actions:
        if isinstance(action, StartJob) and action.budget != NO_BUDGET:
            one_at_a_time(connection, f"delivery budget {project.name}")
            spent = spend(connection, now, project.name, task.id if task else 0)
            if not spending.holds(action.usd, action.budget, spent):
                return False
    return True


def last_task(connection: Connection, project: str, issue: str, *, locked: bool = False) -> Task | None:
    """Read an issue's last task, open or not."""
    query = sa.select(TASKS).where(_T.project == project, _T.issue == issue).order_by(_T.id.desc()).limit(1)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    return task_of(row) if row is not None else None


def locked_task(connection: Connection, task: int) -> Task | None:
    """Read a task that nobody else may change until the transaction ends."""
    row = connection.execute(sa.select(TASKS).where(_T.id == task).with_for_update()).one_or_none()
    return task_of(row) if row is not None else None


def show(connection: Connection, now: float, task: Task, evidence: Evidence) -> None:
    """Write down a fact about what a task is at."""
    values: dict[str, Any] = {"kind": evidence.kind, "sha": evidence.sha, "source": evidence.source}
    values |= {"facts": json.dumps(dict(evidence.facts)), "visit": evidence.visit, "at": now}
    connection.execute(sa.insert(EVIDENCE).values(task=task.id, **values))


def _beside(connection: Connection, now: float, task: Task, action: Action) -> None:
    """Write the rows that an action adds outside the task's own."""
    match action:
        case StartJob():
            _start(connection, now, task, action)
        case TryAgain(job=job):
            _settle(connection, job)
            if job is not None:
                looks.forget(connection, task, job)
        case Succeed(job=job) | SendBack(job=job) | ParkTask(job=job):
            _settle(connection, job)
        case StopJob():
            _stop(connection, now, action)
        case UseVerdict():
            show(connection, now, task, verdict(task, action, now))
        case Acknowledge(state=state):
            outbox.stay(connection, now, task, state)
        case Show() | Tell() | Alert():
            outbox.put(connection, now, task, action)


def _start(connection: Connection, now: float, task: Task, action: StartJob) -> None:
    values = {
        "stage": action.stage,
        "step": action.step,
        "attempt": action.attempt,
        "timeout_s": action.timeout_s,
        "usd": action.usd,
        "turns": action.turns,
        "settings": json.dumps(dict(action.settings)),
        "rank": -action.priority,
    }
    if not queue.add(connection, task, values, now):
        raise Conflict(f"{task.key} has a job that is queued or runs already")


def _settle(connection: Connection, job: int | None) -> None:
    if job is not None:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job).values(settled=True))


def _stop(connection: Connection, now: float, action: StopJob) -> None:
    """Ask a running job to stop; one that is still queued has stopped."""
    mine = JOBS.c.id == action.job
    queued = sa.and_(mine, JOBS.c.state == JobState.QUEUED)
    change = {"state": str(JobState.CANCELLED), "reason": action.reason, "ended_at": now}
    connection.execute(sa.update(JOBS).where(queued).values(**change))
    connection.execute(sa.update(JOBS).where(mine).values(stop=True))
