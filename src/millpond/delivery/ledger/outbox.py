"""What leaves for the tracker: durable, idempotent, retried; written in the transaction that decided it.

Of an issue's moves only the newest is kept, with one that is being sent just now: that one ends first, so that they
arrive in their order. A write that was sent and whose answer was lost is sent again: moving an issue to where it stands
does nothing, a comment carries its key. `OutboxItem.payload` has for a move: ``state``, ``seen`` (where the issue may
stand if no person has moved it: where it was seen, and where our own moves bring it), ``clears``, ``inputs`` (see
`folding.confirmed`); for the others ``text``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db.portable import insert_new
from millpond.delivery.deciding.actions import Alert, Show, Tell
from millpond.delivery.deciding.folding import confirmed
from millpond.delivery.ledger.books import Books, Point, note
from millpond.delivery.ledger.nudging import nudge
from millpond.delivery.ledger.rows import item_of, task_of, task_values
from millpond.delivery.ledger.tables import OUTBOX, TASKS
from millpond.delivery.model import Input, OutboxItem, Task
from millpond.delivery.pipeline import Backoff
from millpond.delivery.rates import MAX_AFTER_S

BACKOFF = Backoff(2.0, 2.0, 300.0)
MAX_TEXT = 20_000
MAX_ERROR = 500
_C = OUTBOX.c
_OLDER, _NEWER = OUTBOX.alias("older"), OUTBOX.alias("newer")
NEWER = "a newer one holds"


class Outbox:
    """The outbox of one ledger."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def take(self, lease_s: float, limit: int = 1) -> list[OutboxItem]:
        """Take writes that are due, the oldest first; nobody else gets them for `lease_s`."""

        def write(connection: Connection) -> list[OutboxItem]:
            now = self._books.now(connection)
            free = sa.or_(_C.lease_until <= now, _C.lease_until > now + lease_s + 5)
            due = sa.and_(_C.state == "pending", _C.not_before <= now, free, first())
            query = sa.select(OUTBOX).where(due).order_by(_C.not_before, _C.id).limit(limit)
            rows = connection.execute(query.with_for_update(skip_locked=True, of=OUTBOX)).all()
            change = {"lease_until": now + lease_s, "fence": _C.fence + 1}
            connection.execute(sa.update(OUTBOX).where(_C.id.in_([row.id for row in rows])).values(**change))
            return [item_of(row) for row in rows]

        return await self._books.write(Point.TAKE_OUTBOX, write)

    async def confirm(self, item: OutboxItem) -> None:
        """Note that a write took effect; that of a move arms what people say next. Late and repeated ones are fine."""

        def write(connection: Connection) -> None:
            now = self._books.now(connection)
            if _end(connection, item.id, "sent", now) and item.kind == "move":
                _arm(connection, item, now)

        await self._books.write(Point.CONFIRM, write)

    async def retry(self, item: OutboxItem, error: str, after_s: float | None = None) -> None:
        """Send it again later: it failed, or nobody knows."""

        def write(connection: Connection) -> None:
            wish_s, now = min(after_s or 0.0, MAX_AFTER_S), self._books.now(connection)
            change = {
                "attempts": item.attempts + 1,
                "not_before": now + max(BACKOFF.after(item.attempts + 1), wish_s),
                "lease_until": 0.0,
                "error": error[:MAX_ERROR],
            }
            pending = sa.and_(_C.id == item.id, _C.state == "pending")
            over = sa.and_(pending, _C.kind == "move", _moves(_NEWER, _NEWER.c.id > _C.id))
            connection.execute(sa.update(OUTBOX).where(over).values(state="dropped", ended_at=now, error=NEWER))
            connection.execute(sa.update(OUTBOX).where(pending).values(**change))

        await self._books.write(Point.RETRY_OUTBOX, write)

    async def drop(self, item: OutboxItem, why: str) -> None:
        """Give a write up: a person moved the issue, or the tracker refuses it for good. It is looked at again."""

        def write(connection: Connection) -> None:
            now = self._books.now(connection)
            if _end(connection, item.id, "dropped", now, why):
                note(connection, now, (item.project, item.issue, item.task), "dropped", kind=item.kind, why=why)
                nudge(connection, now, item.project, item.issue, urgent=True)

        await self._books.write(Point.DROP_OUTBOX, write)

    async def pending(self, limit: int = 1000) -> list[OutboxItem]:
        """Give what has not left yet, the oldest first."""
        query = sa.select(OUTBOX).where(_C.state == "pending").order_by(_C.id).limit(limit)
        rows = await self._books.read(lambda connection: connection.execute(query).all())
        return [item_of(row) for row in rows]


def put(connection: Connection, now: float, task: Task, action: Show | Tell | Alert) -> None:
    """Add a write within the transaction that decided it; the same key again is nothing new."""
    if isinstance(action, Show):
        _, ours = _forget(connection, now, task)
        payload: dict[str, Any] = {
            "key": str(action.key),
            "state": action.state,
            "seen": sorted({action.seen, task.shown, *ours}),
            "clears": sorted(action.clears),
            "inputs": task.inputs,
        }
        key, kind = f"{task.id}:{task.version}:move", "move"
    else:
        payload = {"text": action.text[:MAX_TEXT]}
        key, kind = action.key, "comment" if isinstance(action, Tell) else "alert"
    _add(connection, now, task, key, kind, payload)


def _add(connection: Connection, now: float, task: Task, key: str, kind: str, payload: Mapping[str, Any]) -> None:
    values = {
        "key": key,
        "kind": kind,
        "project": task.project,
        "issue": task.issue,
        "task": task.id,
        "payload": json.dumps(payload),
        "state": "pending",
        "attempts": 0,
        "not_before": now,
        "fence": 0,
        "lease_until": 0.0,
        "made_at": now,
        "ended_at": 0.0,
        "error": "",
    }
    insert_new(connection, OUTBOX, values)


def stay(connection: Connection, now: float, task: Task, state: str) -> None:
    """Leave an issue at a column where it stands: moves that have not left are taken back.

    One that is being sent just now may yet bring it away; then it is brought back.
    """
    sending, ours = _forget(connection, now, task)
    if sending:
        payload = {"key": "", "state": state, "seen": sorted(ours), "clears": [], "inputs": task.inputs}
        _add(connection, now, task, f"{task.id}:{task.version}:move", "move", payload)


def _forget(connection: Connection, now: float, task: Task) -> tuple[bool, set[str]]:
    """Take back an issue's moves that have not left.

    Gives whether one is being sent just now, and where the issue may stand because of any of them.
    """
    mine = sa.and_(_C.project == task.project, _C.issue == task.issue, _C.kind == "move", _C.state == "pending")
    items = [(row, item_of(row)) for row in connection.execute(sa.select(OUTBOX).where(mine)).all()]
    change = {"state": "dropped", "ended_at": now, "error": NEWER}
    connection.execute(sa.update(OUTBOX).where(mine, _C.lease_until <= now).values(**change))
    ours: set[str] = set()
    for _, item in items:
        seen = item.payload.get("seen")
        ours |= {str(item.payload.get("state")), *(map(str, seen) if isinstance(seen, list) else ())}
    return any(row.lease_until > now for row, _ in items), ours


def first() -> sa.ColumnElement[bool]:
    """Whether no older move of the same issue is to end before this write."""
    return ~sa.and_(_C.kind == "move", _moves(_OLDER, _OLDER.c.id < _C.id))


def _moves(other: sa.FromClause, which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether another move of the same issue has not ended."""
    same = sa.and_(other.c.project == _C.project, other.c.issue == _C.issue)
    return sa.exists().where(same, other.c.kind == "move", other.c.state == "pending", which)


def _end(connection: Connection, item: int, state: str, now: float, error: str = "") -> bool:
    pending = sa.and_(_C.id == item, _C.state == "pending")
    change = {"state": state, "ended_at": now, "error": error[:MAX_ERROR]}
    return bool(connection.execute(sa.update(OUTBOX).where(pending).values(**change)).rowcount)


def _arm(connection: Connection, item: OutboxItem, now: float) -> None:
    row = connection.execute(sa.select(TASKS).where(TASKS.c.id == item.task).with_for_update()).one_or_none()
    if row is None:
        return
    task = task_of(row)
    inputs, clears = item.payload.get("inputs"), item.payload.get("clears")
    if not isinstance(inputs, int) or not isinstance(clears, list):
        return
    after = confirmed(task, inputs, (Input(str(kind)) for kind in clears))
    connection.execute(sa.update(TASKS).where(TASKS.c.id == task.id).values(**task_values(after)))
    if after.used != task.used:
        nudge(connection, now, task.project, task.issue, urgent=False)
