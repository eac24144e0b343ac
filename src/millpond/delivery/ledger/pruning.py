"""Forgetting what ended long ago: a bounded number of rows in each transaction.

The last task of an issue stays, as one row: it says that a column which the issue still stands at was acted upon.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.delivery.ledger.books import Books, Point
from millpond.delivery.ledger.tables import COSTS, EVENTS, EVIDENCE, GATES, JOBS, OUTBOX, RUNS, TASKS
from millpond.delivery.model import OPEN

AT_ONCE = 200
"""Tasks, and ten times as many other rows, in one transaction."""
_T = TASKS.c


async def prune(books: Books, keep_s: float, at_once: int = AT_ONCE) -> int:
    """Remove some of what ended more than `keep_s` seconds ago; gives how many rows. 0: nothing is left to remove."""

    def write(connection: Connection) -> int:
        before = books.now(connection) - keep_s
        removed = _ended_tasks(connection, before, at_once)
        sent = sa.and_(OUTBOX.c.state != "pending", OUTBOX.c.ended_at < before)
        removed += _delete(connection, OUTBOX, OUTBOX.c.id, sent, 10 * at_once)
        nobodys = sa.and_(EVENTS.c.task == 0, EVENTS.c.at < before)
        return removed + _delete(connection, EVENTS, EVENTS.c.id, nobodys, 10 * at_once)

    return await books.write(Point.PRUNE, write)


def _ended_tasks(connection: Connection, before: float, at_once: int) -> int:
    ended = sa.and_(_T.phase.not_in(sorted(OPEN)), _T.since < before)
    later = TASKS.alias("later")
    newer = sa.exists().where(later.c.project == _T.project, later.c.issue == _T.issue, later.c.id > _T.id)
    traces = sa.exists().where(EVENTS.c.task == _T.id)
    query = sa.select(_T.id, newer.label("newer")).where(ended, sa.or_(newer, traces)).order_by(_T.id).limit(at_once)
    rows = connection.execute(query).all()
    ids = [row.id for row in rows]
    if not ids:
        return 0
    jobs = sa.select(JOBS.c.id).where(JOBS.c.task.in_(ids))
    removed = int(connection.execute(sa.delete(RUNS).where(RUNS.c.job.in_(jobs))).rowcount)
    for table in (JOBS, EVIDENCE, GATES, COSTS, EVENTS):
        removed += int(connection.execute(sa.delete(table).where(table.c.task.in_(ids))).rowcount)
    replaced = [row.id for row in rows if row.newer]
    return removed + int(connection.execute(sa.delete(TASKS).where(_T.id.in_(replaced))).rowcount)


def _delete(
    connection: Connection, table: sa.Table, key: sa.Column[int], which: sa.ColumnElement[bool], limit: int
) -> int:
    some = sa.select(key).where(which).order_by(key).limit(limit)
    return int(connection.execute(sa.delete(table).where(key.in_(some))).rowcount)
