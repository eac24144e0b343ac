"""Named leases in the database: one holder at a time over all workers and nodes, for as long as it keeps renewing.

A lease carries a fencing number that grows for ever with each holder of its name: who is handed work under a lease
passes the number on, and whatever sees a higher one refuses the lower. That, not the clock, is what makes a holder safe
that slept through its own expiry. A clock set back can't lock a name for a day: an expiry further ahead than the lease
was granted for counts as over.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from millpond.clock import Clock
from millpond.db import Database
from millpond.errors import Busy

CLOCK_SLACK_S = 5.0
log = structlog.get_logger(__name__)
METADATA = sa.MetaData()
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("ttl_s", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease; `expires_at` in epoch seconds."""

    name: str
    holder: str
    fence: int
    expires_at: float


class Leases:
    """The leases of one database."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take a lease that is free, over, or the holder's own (a new fencing number each time); None: it is held."""
        return await self._db.write(lambda connection: self._acquire(connection, name, holder, ttl_s))

    async def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        """Keep a lease for `ttl_s` from now, even a late one that nobody took; None: it is somebody else's now."""
        expires_at = self._clock.now() + ttl_s
        change = sa.update(LEASES).where(_mine(lease)).values(expires_at=expires_at, ttl_s=ttl_s)
        kept = await self._db.write(lambda connection: connection.execute(change).rowcount)
        return replace(lease, expires_at=expires_at) if kept else None

    async def renew_all(self, leases: Sequence[Lease], ttl_s: float) -> dict[str, Lease]:
        """Keep several leases at once; gives those that still are the holder's, by name."""
        expires_at = self._clock.now() + ttl_s

        def write(connection: Connection) -> dict[str, Lease]:
            values = {"expires_at": expires_at, "ttl_s": ttl_s}
            mine = [
                one
                for one in leases
                if connection.execute(sa.update(LEASES).where(_mine(one)).values(**values)).rowcount
            ]
            return {one.name: replace(one, expires_at=expires_at) for one in mine}

        return await self._db.write(write)

    async def release(self, lease: Lease) -> bool:
        """Give a lease back; False: it was somebody else's already. The fencing number stays."""
        change = sa.update(LEASES).where(_mine(lease)).values(holder="", expires_at=0.0)
        return bool(await self._db.write(lambda connection: connection.execute(change).rowcount))

    @asynccontextmanager
    async def holding(self, name: str, holder: str, ttl_s: float) -> AsyncIterator[Lease | None]:
        """Hold a lease while the work within goes on, renewed in time; None: somebody else has it.

        Raises `Busy` where it is lost meanwhile: the work is cancelled then.
        """
        lease = await self.acquire(name, holder, ttl_s)
        if lease is None:
            yield None
            return
        scope = asyncio.timeout(None)
        renewing = asyncio.create_task(self._keep(lease, ttl_s, scope))
        try:
            async with scope:
                yield lease
        except TimeoutError as error:
            if scope.expired():
                raise Busy(
                    f"the lease {name} was lost to somebody else: what was done under it was broken off"
                ) from error
            raise
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self.release(lease)

    async def _keep(self, lease: Lease, ttl_s: float, scope: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(ttl_s / 3)
            try:
                kept = await self.renew(lease, ttl_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next renewal may succeed
                log.warning("a lease could not be renewed; trying again", lease=lease.name, error=str(error))
                continue
            if kept is None:
                scope.reschedule(asyncio.get_running_loop().time())
                return

    async def current(self, name: str) -> Lease | None:
        """Tell who holds a lease now; None: nobody."""
        row = await self._db.read(lambda connection: _row(connection, name))
        if row is None or self._over(row):
            return None
        return Lease(row.name, row.holder, row.fence, row.expires_at)

    def _acquire(self, connection: Connection, name: str, holder: str, ttl_s: float) -> Lease | None:
        row = _row(connection, name)
        if row is not None and row.holder != holder and not self._over(row):
            return None
        lease = Lease(name, holder, 1 if row is None else row.fence + 1, self._clock.now() + ttl_s)
        values = {"holder": holder, "fence": lease.fence, "ttl_s": ttl_s, "expires_at": lease.expires_at}
        if row is None:
            connection.execute(sa.insert(LEASES).values(name=name, **values))
        else:
            connection.execute(sa.update(LEASES).where(LEASES.c.name == name).values(**values))
        return lease

    def _over(self, row: sa.Row[tuple[str, str, int, float, float]]) -> bool:
        now = self._clock.now()
        return not row.holder or row.expires_at <= now or row.expires_at > now + row.ttl_s + CLOCK_SLACK_S


def _row(connection: Connection, name: str) -> sa.Row[tuple[str, str, int, float, float]] | None:
    return connection.execute(sa.select(LEASES).where(LEASES.c.name == name)).one_or_none()


def _mine(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(LEASES.c.name == lease.name, LEASES.c.holder == lease.holder, LEASES.c.fence == lease.fence)


def host_lease(host: str) -> str:
    """Name the lease of a host: who builds or deploys there, or removes what they may need, holds it meanwhile."""
    return f"host:{host}"


def node_id(data: Path) -> str:
    """Give the lasting id of this data directory's node, kept in ``DATA/node-id``; made at the first call."""
    path = data / "node-id"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".node-id.{secrets.token_hex(8)}")
        partial.write_text(uuid.uuid4().hex + "\n")
        with suppress(FileExistsError):  # another process was first: its id holds
            os.link(partial, path)
        partial.unlink()
    return path.read_text().strip()
