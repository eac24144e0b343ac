"""Jobs whose time had not come: of each visit of a stage the first one stays, and the last.

A monitor looks every few seconds for hours, and each look is a job with its run and its events. The first tells since
when it is waited, the last why; those in between say nothing that these do not, and cost nothing, or their costs stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.delivery.ledger.tables import EVENTS, JOBS, RUNS
from millpond.delivery.model import JobState, Task

AT_ONCE = 100
EVENTS_OF = ("job-queued", "job-claimed", "job-taken-up", "job-later", "to-be-tried-again")
"""What is told of each such job."""
_C, _NEXT = JOBS.c, JOBS.alias("following")


def forget(connection: Connection, task: Task, job: int) -> None:
    """Forget the jobs between the first of a task's visit that came too soon and `job`, if that is one of them."""
    mine = sa.and_(_C.task == task.id, _C.visit == task.visit, _C.state == JobState.LATER, _C.id <= job)
    # The next one of the task, whatever became of it, was queued after all was told of this one.
    until = sa.select(sa.func.min(_NEXT.c.queued_at)).where(_NEXT.c.task == _C.task, _NEXT.c.id > _C.id)
    query = sa.select(_C.id, _C.queued_at, until.correlate(JOBS).scalar_subquery().label("until"))
    first, *rows = connection.execute(query.where(mine).order_by(_C.id).limit(AT_ONCE)).all() or (None,)
    if first is None or not connection.execute(sa.select(_C.id).where(mine, _C.id == job)).all():
        return
    between = [row for row in rows if row.id != job]
    for row in between:
        told = sa.and_(EVENTS.c.task == task.id, EVENTS.c.what.in_(EVENTS_OF))
        connection.execute(sa.delete(EVENTS).where(told, EVENTS.c.at >= row.queued_at, EVENTS.c.at < row.until))
    ids = [row.id for row in between]
    if ids:
        connection.execute(sa.delete(RUNS).where(RUNS.c.job.in_(ids)))
        connection.execute(sa.delete(JOBS).where(_C.id.in_(ids)))
