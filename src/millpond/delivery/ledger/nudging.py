"""Nudges: a durable reason to look at an issue, one row for each issue, whatever came how often.

Who looks takes a nudge under a lease. What comes meanwhile makes the row dirty, so that it is looked at once more; a
look that fails is repeated later and later. Nothing but the end of a look that met no new reason removes the row.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db.portable import insert
from millpond.delivery.ledger.books import Books, Point
from millpond.delivery.ledger.rows import nudge_of
from millpond.delivery.ledger.tables import NUDGES
from millpond.delivery.model import Nudge
from millpond.delivery.pipeline import Backoff
from millpond.delivery.rates import MAX_AFTER_S

BACKOFF = Backoff(5.0, 2.0, 300.0)
_C = NUDGES.c


class Nudges:
    """The nudges of one ledger."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def add(self, project: str, issue: str, *, urgent: bool = False, after_s: float = 0.0) -> None:
        """Give a reason to look at an issue, in `after_s` seconds at the latest."""
        await self._books.write(
            Point.NUDGE,
            lambda connection: nudge(connection, self._books.now(connection), project, issue, urgent, after_s),
        )

    async def add_all(self, project: str, issues: list[str]) -> None:
        """Give a reason to look at each of many issues that a poll found, in one transaction."""

        def write(connection: Connection) -> None:
            now = self._books.now(connection)
            reasons = [_reason(now, project, issue, urgent=False) for issue in issues]
            if reasons:
                connection.execute(_adding(connection.dialect.name), reasons)

        await self._books.write(Point.NUDGE, write)

    async def take(self, lease_s: float, limit: int = 1) -> list[Nudge]:
        """Take nudges that are due, the urgent first; nobody else gets them for `lease_s`."""

        def write(connection: Connection) -> list[Nudge]:
            now = self._books.now(connection)
            due = sa.and_(_C.not_before <= now, sa.or_(_C.lease_until <= now, _C.lease_until > now + lease_s + 5))
            query = sa.select(NUDGES).where(due).order_by(_C.urgent.desc(), _C.not_before).limit(limit)
            rows = connection.execute(query.with_for_update(skip_locked=True)).all()
            taken = [nudge_of(row) for row in rows]
            for one in taken:
                change = {"lease_until": now + lease_s, "fence": one.fence + 1}
                connection.execute(sa.update(NUDGES).where(_row(one.project, one.issue)).values(**change))
            return [_fenced(one) for one in taken]

        return await self._books.write(Point.TAKE_NUDGES, write)

    async def done(self, taken: Nudge, *, until: float | None = None, keep_urgent: bool = False) -> bool:
        """End a look; `until`: when to look again. False: somebody else has the nudge by now.

        `keep_urgent`: what somebody told is still to be done then, and no grace period begins for it.
        """

        def write(connection: Connection) -> bool:
            row = connection.execute(_mine(taken)).one_or_none()
            if row is None:
                return False
            if row.dirty != taken.dirty:
                _free(connection, taken, {"not_before": min(row.not_before, self._books.now(connection))})
            elif until is None:
                connection.execute(sa.delete(NUDGES).where(_row(taken.project, taken.issue)))
            else:
                urgent = {} if keep_urgent else {"urgent": False}
                _free(connection, taken, {"not_before": until, "attempts": 0, **urgent})
            return True

        return await self._books.write(Point.END_NUDGE, write)

    async def give_back(self, taken: Nudge) -> None:
        """Leave a look to others, that was broken off: whoever comes next may take it at once."""

        def write(connection: Connection) -> None:
            if connection.execute(_mine(taken)).one_or_none() is not None:
                _free(connection, taken, {})

        await self._books.write(Point.END_NUDGE, write)

    async def failed(self, taken: Nudge, after_s: float | None = None) -> bool:
        """Look again later, since this look failed; `after_s`: no sooner than that.

        What came while it looked is a first try: it doesn't wait for as long as the ones before it were made to.
        """

        def write(connection: Connection) -> bool:
            row = connection.execute(_mine(taken)).one_or_none()
            if row is None:
                return False
            attempts = 1 if row.dirty != taken.dirty else taken.attempts + 1
            later = self._books.now(connection) + max(BACKOFF.after(attempts), min(after_s or 0.0, MAX_AFTER_S))
            _free(connection, taken, {"not_before": later, "attempts": attempts})
            return True

        return await self._books.write(Point.END_NUDGE, write)

    async def of(self, project: str, issue: str) -> Nudge | None:
        """Give the nudge of an issue; None: nobody has a reason to look at it."""
        query = sa.select(NUDGES).where(_row(project, issue))
        row = await self._books.read(lambda connection: connection.execute(query).one_or_none())
        return nudge_of(row) if row is not None else None

    async def all(self, limit: int = 1000) -> list[Nudge]:
        """Give the nudges there are, the next one first."""
        query = sa.select(NUDGES).order_by(_C.not_before).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [nudge_of(row) for row in rows]


def nudge(connection: Connection, now: float, project: str, issue: str, urgent: bool, after_s: float = 0.0) -> None:
    """Add a reason within a transaction."""
    connection.execute(_adding(connection.dialect.name), _reason(now, project, issue, urgent, after_s))


def hasten(connection: Connection, now: float, project: str, issue: str) -> None:
    """Have a look that is put off made now, within a transaction; where none is put off nobody wants to know.

    It is no more urgent than it was: what stands on the board nobody told of, so that the grace period holds.
    """
    sooner = sa.case((_C.not_before > now, now), else_=_C.not_before)
    change = {"dirty": _C.dirty + 1, "not_before": sooner}
    connection.execute(sa.update(NUDGES).where(_row(project, issue)).values(change))


def _reason(now: float, project: str, issue: str, urgent: bool, after_s: float = 0.0) -> dict[str, object]:
    values = {"not_before": now + after_s, "attempts": 0, "dirty": 1, "urgent": urgent, "seen_at": now}
    return {"project": project, "issue": issue, "fence": 0, "lease_until": 0.0, **values}


@cache
def _adding(dialect: str) -> sa.Executable:
    """Make the statement once: building it takes longer than running it."""
    made = insert(dialect, NUDGES)
    sooner = sa.case((made.excluded.not_before < _C.not_before, made.excluded.not_before), else_=_C.not_before)
    change = {"dirty": _C.dirty + 1, "urgent": sa.or_(_C.urgent, made.excluded.urgent), "not_before": sooner}
    return made.on_conflict_do_update(index_elements=["project", "issue"], set_=change)


def _row(project: str, issue: str) -> sa.ColumnElement[bool]:
    return sa.and_(_C.project == project, _C.issue == issue)


def _mine(taken: Nudge) -> sa.Select[tuple[float, int]]:
    mine = sa.and_(_row(taken.project, taken.issue), _C.fence == taken.fence)
    return sa.select(_C.not_before, _C.dirty).where(mine).with_for_update()


def _fenced(one: Nudge) -> Nudge:
    return Nudge(
        *(one.project, one.issue, one.not_before, one.attempts, one.dirty, one.urgent, one.seen_at, one.fence + 1)
    )


def _free(connection: Connection, taken: Nudge, values: dict[str, object]) -> None:
    change = sa.update(NUDGES).where(_row(taken.project, taken.issue)).values(lease_until=0.0, **values)
    connection.execute(change)
