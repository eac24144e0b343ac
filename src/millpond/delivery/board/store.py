"""The embedded board: columns, issues and comments in the daemon's own database, with the people's side of it.

A write by a person and the nudge that it causes are one transaction: nothing that somebody said is ever only found by
a poll. What this system writes itself (`shift`, `tell`) nudges nobody. An issue's id is its number, as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db.portable import epoch, insert_new
from millpond.delivery.board.board import NAMES, folded
from millpond.delivery.board.tables import COLUMNS, COMMENTS, ISSUES, PROJECTS
from millpond.delivery.ledger.books import Now, Transactions
from millpond.delivery.ledger.nudging import nudge
from millpond.delivery.model import Comment, Hint, Issue, Key, Project, State
from millpond.errors import BadRequest, NotFound

T = TypeVar("T")
MAX_TITLE, MAX_DESCRIPTION, MAX_COMMENT, MAX_AUTHOR = 255, 65_536, 20_000, 100
MAX_LABELS, MAX_LABEL = 50, 100
MAX_COMMENTS = 500
"""Of an issue, the newest, are given."""
MAX_LISTED = 500
BACKLOG = "backlog"
_GROUPS = {
    Key.TO_ANALYSE: "unstarted",
    Key.DONE: "completed",
    Key.CANCELLED: "cancelled",
}
_I, _C = ISSUES.c, COMMENTS.c


def columns() -> tuple[State, ...]:
    """Give the columns of a new board: a backlog, and one for each state of the contract."""
    made = [State(str(key).replace("_", "-"), name, _GROUPS.get(key, "started")) for key, name in NAMES.items()]
    return (State(BACKLOG, "Backlog", BACKLOG), *made)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person writes to make an issue; an empty `column` is the board's first one."""

    title: str
    description: str = ""
    labels: frozenset[str] = frozenset()
    column: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """An issue as people see it; `column` is the name of the one it stands in."""

    issue: Issue
    column: str
    description: str = ""
    author: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cards to list, newest number first: in one of these columns (by id or name; none: all), below a number."""

    columns: tuple[str, ...] = ()
    below: int | None = None
    limit: int = 100


def _quiet(hint: Hint) -> None:
    """Wake nobody."""
    del hint


@dataclass(slots=True)
class BoardStore:
    """The boards of one database. `woken` is called with where to look after each write by a person."""

    db: Transactions
    woken: Callable[[Hint], None] = _quiet
    fresh: Sequence[State] = field(default_factory=columns)
    now: Now = epoch

    async def columns(self, project: Project) -> list[State]:
        """Give a board's columns in their order; a board that is not there yet is made."""
        found = await self.db.read(lambda connection: _columns(connection, project))
        return found or await self._write(lambda connection, _: _columns(connection, project), project)

    async def new(self, project: Project, draft: Draft, by: str) -> Card:
        """Make an issue. Raises `BadRequest`, `NotFound` (the column)."""
        title, description = _line("title", draft.title, MAX_TITLE), _text(draft.description, MAX_DESCRIPTION)
        labels = _labels(draft.labels)

        def write(connection: Connection, at: float) -> Card:
            state = _find(_columns(connection, project), draft.column)
            counters = _count(connection, project, numbers=1)
            values = {
                "project": _board(project),
                "number": counters.last_number,
                "title": title,
                "description": description,
                "labels": labels,
                "state": state.id,
                "author": by[:MAX_AUTHOR],
                "created_at": at,
                "updated_at": at,
                "revision": counters.revision,
                "moved_by": by[:MAX_AUTHOR],
            }
            connection.execute(sa.insert(ISSUES).values(**values))
            return _card(connection, project, counters.last_number)

        return await self._said(project, write)

    async def move(self, project: Project, number: int, column: str, by: str = "") -> Card:
        """Move an issue as a person does, to a column by its id or name; where it stands already it counts as said.

        Raises `NotFound`.
        """

        def write(connection: Connection, at: float) -> Card:
            _place(connection, project, number, _find(_columns(connection, project), column), at, by[:MAX_AUTHOR])
            return _card(connection, project, number)

        return await self._said(project, write)

    async def say(self, project: Project, number: int, text: str, by: str) -> Card:
        """Comment on an issue. Raises `BadRequest`, `NotFound`."""
        if not text.strip():
            raise BadRequest("a comment has some text: write it")

        def write(connection: Connection, at: float) -> Card:
            _add(connection, project, number, (_text(text, MAX_COMMENT), by[:MAX_AUTHOR], None), at)
            return _card(connection, project, number)

        return await self._said(project, write)

    async def label(self, project: Project, number: int, add: Collection[str], remove: Collection[str] = ()) -> Card:
        """Add labels to an issue, and take some away, in whatever case. Raises `BadRequest`, `NotFound`."""
        _labels(add)
        gone = {one.casefold() for one in remove}

        def write(connection: Connection, at: float) -> Card:
            there = _card(connection, project, number).issue.labels
            kept = {one for one in there if one.casefold() not in gone}
            _change(connection, project, number, at, labels=_labels(kept | set(add)))
            return _card(connection, project, number)

        return await self._said(project, write)

    async def show(self, project: Project, number: int) -> Card:
        """Give an issue with its comments. Raises `NotFound`."""
        return await self.db.read(lambda connection: _card(connection, project, number))

    async def cards(self, project: Project, wanted: Filter | None = None) -> list[Card]:
        """List issues, without their comments and descriptions. Raises `NotFound` (a column)."""
        wanted = wanted or Filter()
        all_columns = await self.columns(project)
        ids = [_find(all_columns, name).id for name in wanted.columns]
        names = {one.id: one.name for one in all_columns}
        query = sa.select(ISSUES).where(_I.project == _board(project)).order_by(_I.number.desc())
        query = query.where(_I.state.in_(ids)) if ids else query
        query = query.where(_I.number < wanted.below) if wanted.below is not None else query
        query = query.limit(max(1, min(wanted.limit, MAX_LISTED)))
        rows = await self.db.read(lambda connection: connection.execute(query).all())
        return [
            Card(_issue(project, row), names.get(row.state, row.state), "", row.author, row.created_at) for row in rows
        ]

    async def since(self, project: Project, states: Collection[str], revision: int) -> tuple[list[Issue], int]:
        """Give the issues in these columns that changed after a revision, and the revision that this is true of."""

        def read(connection: Connection) -> tuple[list[Issue], int]:
            counters = connection.execute(sa.select(PROJECTS.c.revision).where(_mine(project)))
            query = sa.select(ISSUES).where(
                _I.project == _board(project), _I.revision > revision, _I.state.in_(sorted(states))
            )
            rows = connection.execute(query.order_by(_I.revision)).all()
            return [_issue(project, row) for row in rows], counters.scalar_one_or_none() or 0

        return await self.db.read(read)

    async def issues(self, project: Project, numbers: Sequence[int]) -> list[Issue]:
        """Read issues with their comments; those that are not there are left out."""

        def read(connection: Connection) -> list[Issue]:
            mine = sa.and_(_I.project == _board(project), _I.number.in_(list(numbers)))
            rows = connection.execute(sa.select(ISSUES).where(mine)).all()
            return [
                replace(_issue(project, row, _comments(connection, project, row.number)), description=row.description)
                for row in rows
            ]

        return await self.db.read(read)

    async def shift(self, project: Project, number: int, state: str) -> None:
        """Move an issue as this system does, to a column by its id. Raises `NotFound`."""

        def write(connection: Connection, at: float) -> None:
            found = next((one for one in _columns(connection, project) if one.id == state), None)
            if found is None:
                raise NotFound(f"the board of {project.name} has no column {state[:80]!r}")
            _place(connection, project, number, found, at, "")

        await self._write(write, project)

    async def tell(self, project: Project, number: int, text: str, key: str) -> None:
        """Write a comment of this system, once for each key. Raises `NotFound`."""
        said = (_text(text, MAX_COMMENT), "millpond", key)
        await self._write(lambda connection, at: _add(connection, project, number, said, at), project)

    async def _said(self, project: Project, write: Callable[[Connection, float], Card]) -> Card:
        """Write what a person said, with a nudge; then wake who looks."""

        def run(connection: Connection, at: float) -> Card:
            card = write(connection, at)
            nudge(connection, at, project.name, card.issue.id, urgent=True)
            return card

        card = await self._write(run, project)
        self.woken(Hint(project=_board(project), issue=card.issue.id))
        return card

    async def _write(self, run: Callable[[Connection, float], T], project: Project) -> T:
        def within(connection: Connection) -> T:
            _make(connection, project, self.fresh)
            return run(connection, float(connection.execute(sa.select(self.now())).scalar_one()))

        return await self.db.write(within, durable=True)


def _board(project: Project) -> str:
    """Name a project's board: the tracker's id of the project, or its own name where it has none."""
    return project.tracker_project or project.name


def _mine(project: Project) -> sa.ColumnElement[bool]:
    return PROJECTS.c.project == _board(project)


def _make(connection: Connection, project: Project, fresh: Sequence[State]) -> None:
    """Make a board where there is none."""
    if not insert_new(connection, PROJECTS, {"project": _board(project), "revision": 0, "last_number": 0}):
        return
    for position, one in enumerate(fresh):
        values = {"project": _board(project), "id": one.id, "name": one.name, "kind": one.group, "position": position}
        connection.execute(sa.insert(COLUMNS).values(**values))


def _count(connection: Connection, project: Project, *, numbers: int = 0) -> sa.Row[Any]:
    """Take the next revision (and number). The row stays locked until the commit: revisions are committed in order."""
    change = {"revision": PROJECTS.c.revision + 1, "last_number": PROJECTS.c.last_number + numbers}
    connection.execute(sa.update(PROJECTS).where(_mine(project)).values(**change))
    return connection.execute(sa.select(PROJECTS).where(_mine(project))).one()


def _columns(connection: Connection, project: Project) -> list[State]:
    query = sa.select(COLUMNS).where(COLUMNS.c.project == _board(project)).order_by(COLUMNS.c.position)
    return [State(row.id, row.name, row.kind) for row in connection.execute(query)]


def _find(known: Sequence[State], wanted: str) -> State:
    """Find a column by its id or its name, whatever the case; an empty word is the first one."""
    if not wanted:
        return known[0]
    same = [one for one in known if one.id == wanted] or [one for one in known if folded(one.name) == folded(wanted)]
    if not same:
        raise NotFound(f'there is no column "{wanted[:80]}"; there are {", ".join(one.name for one in known)}')
    return same[0]


def _change(connection: Connection, project: Project, number: int, at: float, **values: str) -> None:
    """Change an issue, under the next revision."""
    counters = _count(connection, project)
    here = sa.and_(_I.project == _board(project), _I.number == number)
    told = {**values, "updated_at": at, "revision": counters.revision}
    if not connection.execute(sa.update(ISSUES).where(here).values(**told)).rowcount:
        raise _missing(project, number)


def _place(connection: Connection, project: Project, number: int, state: State, at: float, by: str) -> None:
    here = sa.and_(_I.project == _board(project), _I.number == number)
    found = connection.execute(sa.select(_I.state).where(here)).scalar_one_or_none()
    if found is None:
        raise _missing(project, number)
    if found != state.id:
        _change(connection, project, number, at, state=state.id, moved_by=by)


def _add(connection: Connection, project: Project, number: int, said: tuple[str, str, str | None], at: float) -> None:
    """Add a comment behind the others; one whose key is there already is left alone."""
    text, author, key = said
    same = sa.and_(_C.project == _board(project), _C.number == number, _C.key == key)
    if key is not None and connection.execute(sa.select(_C.id).where(same)).first() is not None:
        return
    _change(connection, project, number, at)
    mine = sa.and_(_C.project == _board(project), _C.number == number)
    last = connection.execute(sa.select(sa.func.max(_C.at)).where(mine)).scalar_one()
    values = {"project": _board(project), "number": number, "author": author, "text": text, "key": key}
    connection.execute(sa.insert(COMMENTS).values(at=max(at, last or 0.0), **values))


def _card(connection: Connection, project: Project, number: int) -> Card:
    row = connection.execute(sa.select(ISSUES).where(_I.project == _board(project), _I.number == number)).one_or_none()
    if row is None:
        raise _missing(project, number)
    names = {one.id: one.name for one in _columns(connection, project)}
    issue = _issue(project, row, _comments(connection, project, number))
    return Card(issue, names.get(row.state, row.state), row.description, row.author, row.created_at)


def _comments(connection: Connection, project: Project, number: int) -> tuple[Comment, ...]:
    mine = sa.and_(_C.project == _board(project), _C.number == number)
    rows = connection.execute(sa.select(COMMENTS).where(mine).order_by(_C.id.desc()).limit(MAX_COMMENTS)).all()
    found = [Comment(f"{row.id:012}", row.at, row.text, row.author, row.key is not None) for row in reversed(rows)]
    return tuple(found)


def _issue(project: Project, row: sa.Row[Any], comments: tuple[Comment, ...] = ()) -> Issue:
    labels = frozenset(json.loads(row.labels))
    place = (str(row.number), project.name, row.number, row.title, row.state, row.updated_at)
    return Issue(*place, labels, comments, moved_by=row.moved_by)


def _missing(project: Project, number: int) -> NotFound:
    return NotFound(f"the board of {project.name} has no issue {number}: `millpond board ls` shows those there are")


def _line(what: str, text: str, limit: int) -> str:
    clean = " ".join(text.split())
    if not clean or len(clean) > limit:
        raise BadRequest(f"an issue's {what} is one line of 1 to {limit} characters")
    return clean.replace("\0", "")


def _text(text: str, limit: int) -> str:
    if len(text) > limit:
        raise BadRequest(f"the text has {len(text)} characters, and {limit} are taken: shorten it")
    return text.replace("\0", "")


def _labels(labels: Collection[str]) -> str:
    """Write labels as JSON. Raises `BadRequest`."""
    clean = sorted({_line("label", one, MAX_LABEL) for one in labels})
    if len(clean) > MAX_LABELS:
        raise BadRequest(f"an issue has at most {MAX_LABELS} labels")
    return json.dumps(clean)
