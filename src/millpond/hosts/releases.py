"""The releases of every app, in the database: what was brought out, when, by whom, and how far it came.

Each change of state is one transaction, and names the state and the fencing number that it starts from: whoever lost
the lease meanwhile changes nothing any more. A run that died leaves `prepared` or `deploying` behind; the next one, who
holds the lease, marks that as interrupted before anything else.

A document may hold an app's secrets. It lies in the database, whose files (and backups) only the daemon's user can
read, and leaves it only for the hosts; people are shown it masked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.clock import Clock
from millpond.db import Database
from millpond.errors import Busy, MillpondError
from millpond.hosts.apps import AppKind
from millpond.hosts.release import UNFINISHED, Release, State, after, checksum_of, current, needed, surplus

METADATA = sa.MetaData()
RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("checksum", sa.String, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("hosts", sa.String, nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("by_whom", sa.String, nullable=False),
    sa.Column("commit_id", sa.String, nullable=False),
    sa.Column("sets", sa.Text, nullable=False),
    sa.Column("restores", sa.Integer),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("began_at", sa.Double),
    sa.Column("activated_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("error", sa.String, nullable=False),
    # How far each host is, and lines that explain the error: JSON.
    sa.Column("progress", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
)
_C = RELEASES.c
_TOLD = [column for column in _C if column.name != "document"]
LOST = "Millpond ended in the middle of it; run the deploy again"


class Releases:
    """The releases of one database."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    async def of(self, app: str) -> list[Release]:
        """Give an app's releases, oldest first."""
        return await self._db.read(lambda connection: _of(connection, app))

    async def latest(self, limit: int, app: str | None = None) -> list[Release]:
        """Give releases of all apps, or of one, newest first."""
        query = sa.select(*_TOLD).order_by(_C.created_at.desc(), _C.app, _C.number.desc()).limit(limit)
        if app is not None:
            query = query.where(_C.app == app)
        rows = await self._db.read(lambda connection: connection.execute(query).all())
        return [_release(row) for row in rows]

    async def document(self, release: Release) -> str:
        """Give a release's document. Raises `MillpondError` where it is not what was recorded."""
        query = sa.select(_C.document).where(_is(release))
        text: str | None = await self._db.read(lambda connection: connection.execute(query).scalar_one_or_none())
        if text is None or checksum_of(text) != release.checksum:
            raise MillpondError(f"the document of release {release.number} of {release.app} is damaged or gone")
        return text

    async def recover(self, app: str) -> None:
        """Note what a run that died left unfinished as interrupted; for who holds the app's lease."""
        unfinished = sa.and_(_C.app == app, _C.state.in_(UNFINISHED))
        change = {"state": State.INTERRUPTED, "error": LOST, "ended_at": self._clock.now()}
        update = sa.update(RELEASES).where(unfinished).values(**change)
        await self._db.write(lambda connection: connection.execute(update))

    async def begin(self, release: Release, document: str) -> Release:
        """Record a prepared release under the next number."""
        now = self._clock.now()

        def write(connection: Connection) -> Release:
            mine = _C.app == release.app
            last = connection.execute(sa.select(sa.func.max(_C.number)).where(mine)).scalar() or 0
            made = replace(release, number=last + 1, state=State.PREPARED, created_at=now)
            connection.execute(sa.insert(RELEASES).values(document=document, **_values(made)))
            return made

        return await self._db.write(write, durable=True)

    async def deploying(self, release: Release) -> Release:
        """Note that hosts are being changed from now on. Raises `Busy`: the lease is somebody else's."""
        made = replace(release, state=State.DEPLOYING, began_at=self._clock.now())
        return await self._change(made, {State.PREPARED})

    async def note(self, release: Release, progress: Mapping[str, str]) -> Release:
        """Note how far each host is. Raises `Busy`."""
        return await self._change(replace(release, progress=dict(progress)), {State.DEPLOYING})

    async def failed(self, release: Release, error: str, details: tuple[str, ...] = ()) -> Release:
        """Note why it did not come to run. Raises `Busy`."""
        made = replace(release, state=State.FAILED, error=error, details=details, ended_at=self._clock.now())
        return await self._change(made, UNFINISHED)

    async def interrupted(self, release: Release, error: str) -> Release:
        """Note that it was broken off. Raises `Busy`."""
        made = replace(release, state=State.INTERRUPTED, error=error, ended_at=self._clock.now())
        return await self._change(made, UNFINISHED)

    async def activate(self, release: Release) -> Release:
        """Make it the active one, and what was active what it is now. Raises `Busy`."""
        now = self._clock.now()
        made = replace(release, state=State.ACTIVE, activated_at=now, ended_at=now)

        def write(connection: Connection) -> Release:
            active = current(_of(connection, release.app))
            _set(connection, made, {State.DEPLOYING})
            if active is not None:
                state = after(active, made)
                connection.execute(sa.update(RELEASES).where(_is(active)).values(state=state))
            return made

        return await self._db.write(write, durable=True)

    async def forget(self, app: str, keep: int) -> None:
        """Forget what need not be kept of an app."""

        def write(connection: Connection) -> None:
            for old in surplus(_of(connection, app), keep):
                connection.execute(sa.delete(RELEASES).where(_is(old)))

        await self._db.write(write)

    async def _change(self, made: Release, before: Collection[State]) -> Release:
        await self._db.write(lambda connection: _set(connection, made, before), durable=True)
        return made


class ReleaseRoots:
    """The images that releases need on a host (`ports.Roots`): current, previous, and under way, of every app.

    `apps` are those that are configured. What is left of others keeps what its containers use, and nothing more.
    """

    def __init__(self, db: Database, apps: Iterable[str]) -> None:
        self._db, self._apps = db, tuple(apps)

    async def protected(self, host: str) -> Collection[str]:
        """Give their references by content, and ids."""

        def read(connection: Connection) -> set[str]:
            stay = [one for app in self._apps for one in needed(_of(connection, app))]
            return {image for one in stay if host in one.hosts for image in one.images.values()}

        return await self._db.read(read)


def _of(connection: Connection, app: str) -> list[Release]:
    rows = connection.execute(sa.select(*_TOLD).where(_C.app == app).order_by(_C.number))
    return [_release(row) for row in rows]


def _set(connection: Connection, made: Release, before: Collection[State]) -> None:
    """Write a release's new state over one of those before. Raises `Busy` where it has another, or another fence."""
    mine = sa.and_(_is(made), _C.state.in_(before), _C.fence == made.fence)
    if not connection.execute(sa.update(RELEASES).where(mine).values(**_values(made))).rowcount:
        raise Busy(f"another run took over while {made.app} {made.number} was deployed; see `millpond release ls`")


def _is(release: Release) -> sa.ColumnElement[bool]:
    return sa.and_(_C.app == release.app, _C.number == release.number)


_JSON = ("hosts", "images", "sets", "progress", "details")
_NAMES = {"by": "by_whom", "commit": "commit_id"}


def _values(release: Release) -> dict[str, Any]:
    plain = {name: getattr(release, name) for name in Release.__dataclass_fields__}
    written = {name: json.dumps(value) if name in _JSON else value for name, value in plain.items()}
    return {_NAMES.get(name, name): value for name, value in written.items()}


def _release(row: sa.Row[Any]) -> Release:
    found = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    values = {name: found[_NAMES.get(name, name)] for name in Release.__dataclass_fields__}
    values |= {name: json.loads(values[name]) for name in _JSON}
    values |= {"hosts": tuple(values["hosts"]), "details": tuple(values["details"])}
    return Release(**values | {"state": State(values["state"]), "kind": AppKind(values["kind"])})
