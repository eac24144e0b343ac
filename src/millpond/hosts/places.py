"""The places that the disk watchdog looks at, hosts' engines and the pond: what their rungs remove, and what never.

On a host: build cache, then images without a name, then named images that no container (running or stopped), no service
of its swarm, and no root (releases, what is being deployed) needs. Never volumes, never by force.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager

from millpond.hosts import commands
from millpond.hosts.commands import Argv, failure_text, read_reclaimed
from millpond.hosts.disk import WHO, Step, Would
from millpond.hosts.images import names_of, read_image, unneeded
from millpond.hosts.inspecting import ask, cache_held_bytes, engine, room, runs_build
from millpond.hosts.model import HOST_RUNGS, Completed, Engine, HostFailed, Image, Kind, Room, Rung
from millpond.hosts.ports import Pond, Roots
from millpond.hosts.prune import BUILDING, LEASE_S, Watched
from millpond.leases import host_lease

BATCH = 50
"""Images or containers that are asked for at a time."""
AT_ONCE = 3
"""Images that are removed before the disk is measured again."""
SHOWN = 100


class NoRoots:
    """Protects nothing beyond what containers use."""

    async def protected(self, host: str) -> Collection[str]:
        """Give nothing."""
        del host
        return ()


class HostPlace:
    """A host's engine and its data directory."""

    ladder = HOST_RUNGS

    def __init__(self, watched: Watched, roots: Roots) -> None:
        self._with, self._roots = watched, roots
        self._host, self._docker, self._limits = watched.host, watched.docker, watched.options.limits
        self._options = watched.options.disk

    @property
    def name(self) -> str:
        """The host's name."""
        return self._with.options.name

    async def measure(self) -> Room:
        """Measure the disk of the engine's data directory."""
        return await room(self._host, (await self._engine()).root, self._limits)

    async def _engine(self) -> Engine:
        return await engine(self._host, self._docker, self._limits)

    def alone(self) -> AbstractAsyncContextManager[object | None]:
        """Hold the host's lease."""
        return self._with.leases.holding(host_lease(self.name), f"{self._with.holder}/{WHO}", LEASE_S)

    async def free(self, rung: Rung) -> AsyncIterator[Step]:
        """Climb one rung."""
        match rung:
            case Rung.BUILD_CACHE:
                if await runs_build(self._host, self._docker, self._limits, self._with.clock.now()):
                    raise HostFailed(self.name, BUILDING, kind=Kind.TRANSIENT, reason="building")
                yield await self._pruned()
            case Rung.DANGLING:
                async for step in self._nameless():
                    yield step
            case Rung.IMAGES:
                async for step in self._unused():
                    yield step
            case Rung.POND:
                return

    async def _pruned(self) -> Step:
        done = await self._host.run(self._docker.prune_cache(self._options.until), timeout_s=self._options.timeout_s)
        if not done.ok:
            raise self._failed(done)
        freed = read_reclaimed(done.out)
        what = f"build cache not used for {self._options.until}"
        return Step(Rung.BUILD_CACHE, what, freed.bytes if freed else None)

    def _failed(self, done: Completed) -> HostFailed:
        return HostFailed(self.name, failure_text(done), kind=Kind.TRANSIENT, reason="command", rc=done.rc)

    async def _nameless(self) -> AsyncIterator[Step]:
        """Remove images without any name; Docker itself keeps those that others are built on."""
        left = await self._idle_nameless()
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            argv = self._docker.remove_nameless(image.id for image in batch)
            done = await self._host.run(argv, timeout_s=self._options.timeout_s)
            if not done.ok and not _stays(done):
                raise self._failed(done)
            if commands.read_removed(done.out):
                yield Step(Rung.DANGLING, "images without a name", sum(image.size for image in batch))

    async def _idle_nameless(self) -> list[Image]:
        images = await self._images(self._docker.images(dangling=True))
        used, roots = await self._used(), await self._roots.protected(self.name)
        return [image for image in images if image.dangling and image.id not in used and image.id not in roots]

    async def _unused(self) -> AsyncIterator[Step]:
        """Remove unneeded images, some at a time; what turned out to be in use meanwhile stays."""
        left = await self._unneeded()
        for start in range(0, len(left), AT_ONCE):
            gone = [image for image in left[start : start + AT_ONCE] if await self._removed(image)]
            if gone:
                names = ", ".join(image.tags[0] if image.tags else image.digests[0] for image in gone)
                yield Step(Rung.IMAGES, names, sum(image.size for image in gone))

    async def _removed(self, image: Image) -> bool:
        done = Completed(1)
        for name in names_of(image):
            done = await self._host.run(self._docker.remove_image(name), timeout_s=self._options.timeout_s)
            if not done.ok and not _stays(done):
                raise self._failed(done)
        return done.ok

    async def _unneeded(self) -> list[Image]:
        """Give the images that may go. Whatever can't be found out about use keeps them all: raises `HostFailed`.

        Images are listed first: one that comes into use after that is listed with its container.
        """
        images = await self._images(self._docker.images())
        used = await self._used()
        roots = {*await self._roots.protected(self.name), *await self._services()}
        try:
            return unneeded(images, used, roots, now=self._with.clock.now(), min_age_s=self._options.image_min_age_s)
        except ValueError as error:
            raise HostFailed(self.name, str(error), kind=Kind.PERMANENT, reason="unreadable") from error

    async def _images(self, listing: Argv) -> list[Image]:
        ids = await ask(self._host, listing, self._limits, commands.ids)
        found: list[Image] = []
        for start in range(0, len(ids), BATCH):
            argv = self._docker.inspect_images(ids[start : start + BATCH])
            found += await ask(self._host, argv, self._limits, _read_images)
            await asyncio.sleep(0)
        return found

    async def _used(self) -> set[str]:
        ids = await ask(self._host, self._docker.containers(), self._limits, commands.ids)
        used: set[str] = set()
        for start in range(0, len(ids), BATCH):
            argv = self._docker.images_of(ids[start : start + BATCH])
            used |= set(await ask(self._host, argv, self._limits, _strings))
        return used

    async def _services(self) -> Sequence[str]:
        """Give the images of the swarm's services, as long as this is one of its managers."""
        if not (await self._engine()).manager:
            return ()
        return await ask(self._host, self._docker.services(), self._limits, _strings)

    async def would(self, rung: Rung) -> Would:
        """Say what a rung would remove at most."""
        match rung:
            case Rung.BUILD_CACHE:
                held = await cache_held_bytes(self._host, self._docker, self._limits)
                return Would(rung, held, (f"build cache not used for {self._options.until}",))
            case Rung.DANGLING:
                idle = await self._idle_nameless()
            case _:
                idle = await self._unneeded()
        names = [image.tags[0] if image.tags else (image.digests or (image.id,))[0] for image in idle]
        return Would(rung, sum(image.size for image in idle), tuple(names[:SHOWN]))


def _stays(done: Completed) -> bool:
    """Whether Docker kept an image since something needs it, or it is gone already."""
    said = done.err.lower()
    return "conflict" in said or "no such image" in said


def _read_images(out: str) -> list[Image]:
    return [read_image(line) for line in commands.lines(out)]


def _strings(out: str) -> list[str]:
    return [commands.read_string(line) for line in commands.lines(out)]


class PondPlace:
    """The pond's own data."""

    ladder = (Rung.POND,)
    name = "pond"

    def __init__(self, pond: Pond) -> None:
        self._pond = pond

    async def measure(self) -> Room:
        """Measure its disk."""
        return await self._pond.measure()

    async def free(self, rung: Rung) -> AsyncIterator[Step]:
        """Evict and collect."""
        freed = await self._pond.collect(dry_run=False)
        yield Step(rung, "what exceeds max_size, and what nothing refers to", freed)

    async def would(self, rung: Rung) -> Would:
        """Say what that would free."""
        freed = await self._pond.collect(dry_run=True)
        return Would(rung, freed, ("what exceeds max_size, and what nothing refers to",))

    def alone(self) -> AbstractAsyncContextManager[object | None]:
        """Nothing has to be kept away: the collector takes care of what is in use."""
        return contextlib.nullcontext(self)
