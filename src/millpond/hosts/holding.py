"""Several leases at once, all or none: an app's own, then its hosts', in one order everywhere, against deadlocks.

They are renewed while they are held, and end by themselves when Millpond dies. A holder of this machine's that is dead
already is not waited for. Who loses one (the process slept for long, the disk was full) finds out at the next `check`,
which asks the database.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from millpond.clock import Clock
from millpond.errors import Busy
from millpond.leases import Lease, Leases, host_lease

TTL_S = 120.0
WAIT_S = 180.0
"""How long upkeep that holds a host is waited for; a prune takes no longer as a rule."""
LOOK_S = 0.5
DEPLOY = "deploy"
APP = "app:"
log = structlog.get_logger(__name__)


def app_lease(app: str) -> str:
    """Name the lease of an app: one deploy of it at a time."""
    return f"{APP}{app}"


async def _nothing() -> None:
    """Renew nothing."""


@dataclass(slots=True)
class Held:
    """Leases that are held. `fence`: the app's fencing number."""

    fence: int
    leases: list[Lease] = field(default_factory=list)
    lost: str = ""
    renew: Callable[[], Awaitable[None]] = _nothing
    """Renews them all, and notes in `lost` what is somebody else's."""

    async def check(self) -> None:
        """Renew them, before something is changed that they guard. Raises `Busy` if one was lost."""
        if not self.lost:
            await self.renew()
        if self.lost:
            raise Busy(f"the lease {self.lost} was lost to somebody else: nothing more is changed")


@dataclass(frozen=True, slots=True)
class Holding:
    """Takes leases for deploys of one process; `node` is the data directory's own."""

    leases: Leases
    clock: Clock
    node: str
    wait_s: float = WAIT_S
    ttl_s: float = TTL_S

    @asynccontextmanager
    async def all(self, app: str, hosts: Iterable[str], told: Callable[[str], None]) -> AsyncIterator[Held]:
        """Hold the app and its hosts. Another deploy of the app is not waited for, who holds a host is, for a while.

        Raises `Busy`, naming who holds it.
        """
        holder = f"{self.node}/{os.getpid()}/{DEPLOY} of {app}/{secrets.token_hex(4)}"
        held = Held(0)
        held.renew = lambda: self._renew(held)
        renewing: asyncio.Task[None] | None = None
        try:
            first = await self._take(app_lease(app), holder, 0.0, told)
            held.fence = first.fence
            held.leases.append(first)
            renewing = asyncio.create_task(self._keep(held))
            for host in sorted(set(hosts)):
                held.leases.append(await self._take(host_lease(host), holder, self.wait_s, told))
            yield held
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
            for lease in reversed(held.leases):
                await self.leases.release(lease)

    async def _take(self, name: str, holder: str, wait_s: float, told: Callable[[str], None]) -> Lease:
        until = self.clock.monotonic() + wait_s
        while True:
            lease = await self.leases.acquire(name, holder, self.ttl_s)
            if lease is not None:
                return lease
            other = await self.leases.current(name)
            if other is None or await self._was_dead(other):
                continue
            left = max(other.expires_at - self.clock.now(), 0)
            text = f"{name} is held by {_who(other.holder)}"
            if self.clock.monotonic() >= until:
                off = f"; `millpond call-off {name.removeprefix(APP)}` breaks it off" if name.startswith(APP) else ""
                raise Busy(f"{text}{off}; if that is no more, it ends by itself in {left:.0f} s: try again then")
            told(f"waiting: {text}")
            await asyncio.sleep(LOOK_S)

    async def under_way(self, app: str) -> bool:
        """Whether somebody deploys an app now."""
        lease = await self.leases.current(app_lease(app))
        return lease is not None and not self._is_dead(lease)

    def _is_dead(self, lease: Lease) -> bool:
        """Whether its holder is a process of this machine that is no more; of one elsewhere nobody can tell."""
        node, _, rest = lease.holder.partition("/")
        pid = rest.partition("/")[0]
        return node == self.node and pid.isdigit() and not _alive(int(pid))

    async def _was_dead(self, lease: Lease) -> bool:
        """Take a lease from a dead holder."""
        if not self._is_dead(lease):
            return False
        log.warning("a lease was left by a process that is no more", lease=lease.name, holder=lease.holder)
        return await self.leases.release(lease)

    async def _keep(self, held: Held) -> None:
        while not held.lost:
            await asyncio.sleep(self.ttl_s / 3)
            try:
                await self._renew(held)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again; `check` tells what was lost
                log.warning("leases could not be renewed; trying again", held=len(held.leases), error=str(error))

    async def _renew(self, held: Held) -> None:
        before = list(held.leases)
        kept = await self.leases.renew_all(before, self.ttl_s)
        held.leases[:] = [kept.get(one.name, one) for one in held.leases]
        held.lost = next((one.name for one in before if one.name not in kept), held.lost)


def _who(holder: str) -> str:
    """Say who holds a lease, without the random part."""
    parts = holder.split("/")
    what = parts[2] if len(parts) > 2 else "somebody"  # noqa: PLR2004 - node, process, what
    return f"{what} (process {parts[1]})" if len(parts) > 1 else holder


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
