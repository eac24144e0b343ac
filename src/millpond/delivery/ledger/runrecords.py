"""Which process each claim of a job ran in, and where its log lies: for people, and for upkeep."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.delivery.ledger.books import Books, Point
from millpond.delivery.ledger.tables import JOBS, RUNS
from millpond.delivery.model import Job
from millpond.delivery.runs.runfolder import Who


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One claim of a job. Times are epoch seconds; `ended` is empty while it goes on; `log` is empty without a run."""

    job: int
    fence: int
    stage: str
    worker: str
    started_at: float
    ended_at: float | None
    ended: str
    reason: str
    node: str
    pid: int | None
    start: int | None
    boot: str
    log: str


class RunRecords:
    """The records of one ledger's runs."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def note(self, job: Job, node: str, log: str, who: Who | None) -> None:
        """Write down which process a claim of a job runs in."""
        values = {"node": node, "log": log}
        told = {"pid": who.pid, "start": who.start, "boot": who.boot} if who is not None else {}
        mine = sa.and_(RUNS.c.job == job.id, RUNS.c.fence == job.fence)

        def write(connection: Connection) -> None:
            connection.execute(sa.update(RUNS).where(mine).values(**values, **told))

        await self._books.write(Point.NOTE_RUN, write)

    async def of(self, task: int, limit: int = 1000) -> list[RunRecord]:
        """Give a task's runs, the oldest first."""
        columns = [JOBS.c.stage if name == "stage" else RUNS.c[name] for name in RunRecord.__slots__]
        query = sa.select(*columns).join(JOBS, JOBS.c.id == RUNS.c.job).where(JOBS.c.task == task)
        ordered = query.order_by(RUNS.c.job, RUNS.c.fence).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(ordered).all())
        return [RunRecord(*row) for row in rows]
