"""Jobs: claimed under a lease with a fencing token, kept by heartbeats, ended once, reaped when their worker died.

The database's clock counts, and only a heartbeat moves a lease. Who holds an older fencing token has lost the job,
whatever it believes: what it says then is refused, but what it spent is written down.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from millpond.db.portable import insert_new, one_at_a_time
from millpond.delivery.ledger.books import Books, Point, note
from millpond.delivery.ledger.nudging import hasten, nudge
from millpond.delivery.ledger.rows import Row, job_of
from millpond.delivery.ledger.tables import COSTS, EVIDENCE, JOBS, RUNS
from millpond.delivery.model import Done, Evidence, Failed, Job, JobState, Outcome, Park, Retry, Spent, Stopped, Task

CANDIDATES = 8
CLOCK_SLACK_S = 5.0
DAY_S = 86400
MAX_REASON = 2000
_C = JOBS.c
_RUNNING = JOBS.alias("running")


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat is answered. Not `kept`: the job is somebody else's, end the work. `stop`: it is not wanted."""

    kept: bool
    stop: bool = False


class JobQueue:
    """The jobs of one ledger."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._now_and_running = books.clocked(_RUN)

    async def claim(
        self, worker: str, lease_s: float, *, most: int, limit: int = 1, steps: Collection[str] | None = None
    ) -> list[Job]:
        """Claim the next jobs, `limit` at most and as long as fewer than `most` run; none: none may run now.

        Higher priority first, then the older; a job whose repo has one running leaves the line to those behind it.
        """

        def write(connection: Connection) -> list[Job]:
            one_at_a_time(connection, "delivery claims")  # the others' claims must be seen to be counted
            read = connection.execute(self._now_and_running).one()
            now, wanted = float(read[0]), min(limit, most - read[1])
            claimed: list[Job] = []
            if wanted <= 0:
                return claimed
            looked_at = wanted + CANDIDATES if wanted > 1 else 1  # two in line may be of one repo
            for row in connection.execute(_candidates(steps), {"now": now, "limit": looked_at}).all():
                if len(claimed) < wanted and row.repo not in {job.repo for job in claimed}:
                    job = _claimed(connection, row, worker, lease_s, now)
                    claimed += [job] if job else []
            if claimed:
                _begin(connection, claimed, now)
            for job in claimed:
                hasten(connection, now, job.project, job.issue)  # the board may show what runs in another column
            return claimed

        return await self._books.write(Point.CLAIM, write)

    async def heartbeat(self, job: Job, lease_s: float) -> Beat:
        """Keep a claimed job for `lease_s` from now."""

        def write(connection: Connection) -> Beat:
            now = self._books.now(connection)
            change = {"heartbeat_at": now, "lease_until": now + lease_s, "lease_s": lease_s}
            kept = connection.execute(sa.update(JOBS).where(_held(job)).values(**change)).rowcount
            stop = connection.execute(sa.select(_C.stop).where(_held(job))).scalar_one_or_none()
            return Beat(bool(kept), bool(stop))

        return await self._books.write(Point.HEARTBEAT, write)

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        """Write down what came of a job, showed and cost. False: it was lost, and only the cost counts."""

        def write(connection: Connection) -> bool:
            now = self._books.now(connection)
            change = {**_ended(outcome), "ended_at": now}
            held = bool(connection.execute(sa.update(JOBS).where(_held(job)).values(**change)).rowcount)
            if not held or outcome.spent != Spent():  # that a lost job cost nothing is told, too: its money is free
                _cost(connection, job, outcome.spent, now)
            if not held:
                return False
            if isinstance(outcome, Done | Failed):
                keep(connection, job, outcome.evidence, now)
            _close(connection, job, str(change["state"]), str(change["reason"]), now)
            return True

        return await self._books.write(Point.FINISH, write)

    async def reap(self) -> list[Job]:
        """Give up the jobs whose lease is over: their tasks are looked at, and try again if attempts are left."""

        def write(connection: Connection) -> list[Job]:
            now = self._books.now(connection)
            far = _C.lease_until > now + _C.lease_s + CLOCK_SLACK_S  # a clock that was set back must not lock a repo
            over = sa.and_(_C.state == JobState.RUNNING, sa.or_(_C.lease_until <= now, far))
            rows = connection.execute(sa.select(JOBS).where(over).with_for_update(skip_locked=True)).all()
            lost = [job_of(row) for row in rows]
            for job in lost:
                reason = f"its worker {job.worker} was not heard of for {max(now - job.heartbeat_at, 0):.0f} s"
                change = {"state": str(JobState.LOST), "reason": reason, "ended_at": now}
                connection.execute(sa.update(JOBS).where(_C.id == job.id).values(**change))
                _close(connection, job, "lost", reason, now)
            return lost

        return await self._books.write(Point.REAP, write)

    async def retake(self, worker: str, lease_s: float) -> list[Job]:
        """Take up again the jobs that an earlier process of this worker had, under new fencing tokens.

        What that process might still say is refused from now on. To be called once, before anything is claimed.
        """

        def write(connection: Connection) -> list[Job]:
            now = self._books.now(connection)
            mine = sa.and_(_C.state == JobState.RUNNING, _C.worker == worker)
            rows = connection.execute(sa.select(JOBS).where(mine).order_by(_C.id).with_for_update()).all()
            taken = [replace(job_of(row), fence=row.fence + 1, lease_until=now + lease_s) for row in rows]
            for job in taken:
                change = {"fence": job.fence, "lease_s": lease_s, "lease_until": job.lease_until, "heartbeat_at": now}
                connection.execute(_CLAIM, {"job_id": job.id, **change})
                old = sa.and_(RUNS.c.job == job.id, RUNS.c.fence == job.fence - 1)
                ended = {"ended_at": now, "ended": "taken-up", "reason": "its daemon was restarted"}
                connection.execute(sa.update(RUNS).where(old, RUNS.c.ended_at.is_(None)).values(**ended))
            if taken:
                _begin(connection, taken, now, "taken-up")
            return taken

        return await self._books.write(Point.RETAKE, write)

    async def uncounted(self, worker: str) -> list[Job]:
        """Give the jobs of a worker that were lost within a day, and whose cost nobody has counted."""

        def read(connection: Connection) -> list[Job]:
            lost = sa.and_(_C.state == JobState.LOST, _C.ended_at > self._books.now(connection) - DAY_S)
            query = sa.select(JOBS).where(lost, _C.worker == worker, ~counted()).order_by(_C.id)
            return [job_of(row) for row in connection.execute(query)]

        return await self._books.read(read)

    async def of(self, task: int, visit: int | None = None) -> list[Job]:
        """Give a task's jobs, the oldest first; with a `visit` only its own, and whatever is active."""
        query = sa.select(JOBS).where(_C.task == task).order_by(_C.id)
        if visit is not None:
            query = query.where(sa.or_(_C.visit == visit, _C.state.in_([JobState.QUEUED, JobState.RUNNING])))
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [job_of(row) for row in rows]

    async def one(self, job: int) -> Job | None:
        """Give a job."""
        query = sa.select(JOBS).where(_C.id == job)
        row = await self._books.read(lambda connection: connection.execute(query).one_or_none())
        return job_of(row) if row is not None else None

    async def active(self) -> list[Job]:
        """Give the jobs that are queued or run, in the order of the line."""
        query = sa.select(JOBS).where(_C.state.in_([JobState.QUEUED, JobState.RUNNING])).order_by(_C.rank, _C.id)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [job_of(row) for row in rows]


def add(connection: Connection, task: Task, values: dict[str, Any], now: float) -> bool:
    """Queue a job of a task within a transaction; False: the task has one that is active."""
    plain = {
        "task": task.id,
        "project": task.project,
        "issue": task.issue,
        "repo": task.repo,
        "dedup_key": f"task:{task.id}",
        "visit": task.visit,
        "state": str(JobState.QUEUED),
        "sha": task.sha,
        "not_before": 0.0,
        "worker": "",
        "fence": 0,
        "lease_s": 0.0,
        "lease_until": 0.0,
        "heartbeat_at": 0.0,
        "queued_at": now,
        "started_at": 0.0,
        "ended_at": 0.0,
        "reason": "",
        "after_s": 0.0,
        "stop": False,
        "settled": False,
    }
    return insert_new(connection, JOBS, {**plain, **values})


def keep(connection: Connection, job: Job, evidence: Collection[Evidence], now: float) -> None:
    """Write down what a job showed, as of this visit of its task, whatever it says of itself."""
    for one in evidence:
        values = {"kind": one.kind, "sha": one.sha, "facts": json.dumps(dict(one.facts)), "source": f"job {job.id}"}
        connection.execute(sa.insert(EVIDENCE).values(task=job.task, visit=job.visit, at=now, **values))


def _alone() -> sa.ColumnElement[bool]:
    """Whether a job is queued, and nobody works on its repo."""
    busy = sa.exists().where(_RUNNING.c.repo == _C.repo, _RUNNING.c.state == sa.literal_column("'running'"))
    return sa.and_(_C.state == sa.literal_column("'queued'"), ~busy)


def _in_line() -> sa.Select[Any]:
    """Find the first in line whose repo nobody works on; locked, where there are locks."""
    due = sa.and_(_alone(), _C.not_before <= sa.bindparam("now"))
    query = sa.select(JOBS).where(due).order_by(_C.rank, _C.not_before, _C.id).limit(sa.bindparam("limit"))
    return query.with_for_update(skip_locked=True, of=JOBS)


# Built once: building a statement takes longer than running it.
_LINE = _in_line()
_OPEN_RUN = sa.insert(RUNS)
_CLAIM = sa.update(JOBS).where(_C.id == sa.bindparam("job_id"))
_RUN = sa.select(sa.func.count()).select_from(JOBS).where(_C.state == sa.literal_column("'running'"))
_NEXT = sa.select(sa.func.min(_C.not_before)).where(_alone())


def next_due(connection: Connection, most: int, steps: Collection[str] | None = None) -> float | None:
    """Say from when on a job may be claimed; None: there is none, or no room, and a job's end will tell."""
    if connection.execute(_RUN).scalar_one() >= most:
        return None
    query = _NEXT if steps is None else _NEXT.where(_C.step.in_(steps))
    due: float | None = connection.execute(query).scalar_one()
    return due


def _candidates(steps: Collection[str] | None) -> sa.Select[Any]:
    return _LINE if steps is None else _LINE.where(_C.step.in_(steps))


def _claimed(connection: Connection, row: Row, worker: str, lease_s: float, now: float) -> Job | None:
    """Mark a job as running; None: another worker was quicker with one of the same repo."""
    fence, until = row.fence + 1, now + lease_s
    change = {
        "state": str(JobState.RUNNING),
        "worker": worker,
        "fence": fence,
        "lease_s": lease_s,
        "lease_until": until,
        "heartbeat_at": now,
        "started_at": now,
    }
    # SQLite's writers come one after the other, so that the look at the running ones still holds there.
    alone = nullcontext() if connection.dialect.name == "sqlite" else connection.begin_nested()
    try:
        with alone:
            connection.execute(_CLAIM, {"job_id": row.id, **change})
    except IntegrityError:
        return None
    return replace(
        job_of(row), state=JobState.RUNNING, worker=worker, fence=fence, lease_until=until, heartbeat_at=now,
        started_at=now,
    )  # fmt: skip


def _begin(connection: Connection, jobs: Sequence[Job], now: float, what: str = "claimed") -> None:
    """Write down that these claims began."""
    plain = {"started_at": now, "ended": "", "reason": ""}
    runs = [{"job": job.id, "fence": job.fence, "worker": job.worker, **plain} for job in jobs]
    connection.execute(_OPEN_RUN, runs)
    for job in jobs:
        _tell(connection, job, what, now)


def _held(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(_C.id == job.id, _C.fence == job.fence, _C.state == JobState.RUNNING)


def _ended(outcome: Outcome) -> dict[str, Any]:
    """Write an outcome into a job's columns."""
    match outcome:
        case Done(sha=sha):
            return {"state": str(JobState.SUCCEEDED), "reason": "", **({"sha": sha} if sha else {})}
        case Retry(after_s=after_s, reason=reason, not_yet=not_yet):
            state = JobState.LATER if not_yet else JobState.RETRY
            return {"state": str(state), "reason": _told(reason), "after_s": after_s}
        case Failed(reason=reason):
            return {"state": str(JobState.FAILED), "reason": _told(reason)}
        case Park(question=question):
            return {"state": str(JobState.ASKED), "reason": _told(question)}
        case Stopped():
            return {"state": str(JobState.CANCELLED), "reason": "stopped"}


def _told(reason: str) -> str:
    """Give a reason that every database takes, whatever a program said: an outcome has to be written down."""
    return reason[:MAX_REASON].encode("utf-8", "replace").decode().replace("\0", "")


def counted() -> sa.ColumnElement[bool]:
    """Whether the cost of a job's last claim is written down, by whoever did the work or by who ended its run."""
    return sa.exists().where(COSTS.c.job == _C.id, COSTS.c.fence.in_([_C.fence, -_C.fence]))


def _cost(connection: Connection, job: Job, spent: Spent, now: float) -> None:
    """Count a claim's cost once."""
    values = {"job": job.id, "fence": job.fence, "task": job.task, "project": job.project}
    insert_new(
        connection, COSTS, {**values, "at": now, "day": int(now // DAY_S), "usd": spent.usd, "turns": spent.turns}
    )


def _close(connection: Connection, job: Job, ended: str, reason: str, now: float) -> None:
    """End a claim's run, tell of it, and have its task looked at."""
    mine = sa.and_(RUNS.c.job == job.id, RUNS.c.fence == job.fence)
    connection.execute(sa.update(RUNS).where(mine).values(ended_at=now, ended=ended, reason=reason))
    _tell(connection, job, ended, now)
    nudge(connection, now, job.project, job.issue, urgent=True)


def _tell(connection: Connection, job: Job, what: str, now: float) -> None:
    note(connection, now, (job.project, job.issue, job.task), f"job-{what}", job=job.id, stage=job.stage)
