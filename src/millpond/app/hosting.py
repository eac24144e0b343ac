"""The hosts of one configuration: wired, ticked, asked. A reload makes a new one and retires the old.

What was retired ticks no more, and keeps its connections until the last operation on it has ended.

Its loops run in the first worker only, one for each host and task, so that none waits for another; the host's lease
keeps them apart from builds and deploys. What they found is in the database: every worker can tell it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from millpond.adapters.localhost import LocalHost
from millpond.adapters.notify import AppriseNotifier, NoNotifier
from millpond.adapters.ssh import Connections, SshHost
from millpond.app.core import Core
from millpond.app.fleet import disk_options, host_options, prune_options
from millpond.config import Config
from millpond.errors import NotFound
from millpond.hosts import disk, prune
from millpond.hosts.disk import Watchdog
from millpond.hosts.model import DiskOptions, HostOptions, Run
from millpond.hosts.places import HostPlace, PondPlace
from millpond.hosts.ports import Host, Notifier, Pond, Roots
from millpond.hosts.prune import Pruner, Watched
from millpond.hosts.releases import ReleaseRoots, Releases
from millpond.hosts.runs import Runs
from millpond.loops import Loops

TICK_S = 60.0
"""How often at least it is looked whether a prune is due."""
Connect: TypeAlias = Callable[[HostOptions], Host]


@dataclass(frozen=True, slots=True)
class Around:
    """What is around the hosts whatever is reloaded: the pond's own disk, and the images that are being pre-pulled."""

    pond: Pond
    underway: Roots


class Hosting:
    """The hosts' area of one open application."""

    def __init__(
        self,
        app: Core,
        config: Config,
        around: Around,
        *,
        connect: Connect | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._app, self._config, self._around = app, config, around
        self._connections: Connections | None = None
        self._connect = connect or self._connected
        urls = [url.get_secret_value() for url in config.notify.urls]
        self.notifier = notifier or (AppriseNotifier(urls) if urls else NoNotifier())
        self.runs = Runs(app.db)
        self._users, self._retired = 0, False
        self.releases = Releases(app.db, app.clock)
        self.roots: Roots = ReleaseRoots(app.db, config.apps)
        self.loops = Loops()
        self._watched: dict[str, Watched] = {}
        self.options = {name: host_options(name, one, config) for name, one in config.hosts.items()}

    def _connected(self, options: HostOptions) -> Host:
        if options.address.local:
            return LocalHost(options)
        if self._connections is None:
            self._connections = Connections(self._app.ssh_folder)
        return SshHost(options, self._connections)

    def watched(self, name: str) -> Watched:
        """Give a host with what its upkeep needs. Raises `NotFound`."""
        options = self.options.get(name)
        if options is None:
            raise NotFound(f"there is no host {name!r}; `millpond host ls` lists them")
        if name not in self._watched:
            app = self._app
            self._watched[name] = Watched(
                host=self._connect(options),
                options=options,
                runs=self.runs,
                leases=app.leases,
                notifier=self.notifier,
                clock=app.clock,
                holder=f"{app.node}/{os.getpid()}",
            )
        return self._watched[name]

    def pruner(self, name: str) -> Pruner:
        """Give a host's pruner. Raises `NotFound`."""
        return Pruner(self.watched(name))

    def watchdog(self, name: str) -> Watchdog:
        """Give the watchdog of a host, or of the pond. Raises `NotFound`."""
        if name == PondPlace.name:
            options, place = self.pond_disk, PondPlace(self._around.pond)
            return Watchdog(place, options, place.ladder, runs=self.runs, notifier=self.notifier, clock=self._app.clock)
        watched = self.watched(name)
        host = HostPlace(watched, _Both(self.roots, self._around.underway))
        return Watchdog(
            host, watched.options.disk, host.ladder, runs=self.runs, notifier=self.notifier, clock=self._app.clock
        )

    @property
    def pond_disk(self) -> DiskOptions:
        """How the pond's own disk is watched."""
        return disk_options(self._config.upkeep.disk)

    def start(self) -> None:
        """Start the loops of whatever is switched on."""
        for name, options in self.options.items():
            if options.prune.enabled:
                interval_s = min(options.prune.interval_s, TICK_S)
                self.loops.every(interval_s, self.pruner(name).tick, f"build cache of {name}", at_once=True)
            if options.disk.enabled:
                self.loops.every(options.disk.interval_s, self.watchdog(name).tick, f"disk of {name}", at_once=True)
        if self.pond_disk.enabled:
            tick = self.watchdog(PondPlace.name).tick
            self.loops.every(self.pond_disk.interval_s, tick, "disk of the pond", at_once=True)

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[Hosting]:
        """Keep its connections for an operation, also when a reload puts another one in its place."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if self.over:
                await self._disconnect()

    @property
    def over(self) -> bool:
        """Whether it was retired, and nothing works with it any more."""
        return self._retired and self._users == 0

    async def retire(self) -> None:
        """Stop the loops, and end every connection once nothing uses it any more."""
        self._retired = True
        await self.loops.close()
        if self.over:
            await self._disconnect()

    async def close(self) -> None:
        """Stop the loops, and end every connection."""
        await self.loops.close()
        await self._disconnect()

        if self._connections is not None:
            with contextlib.suppress(OSError):
                self._connections.folder.rmdir()

    async def _disconnect(self) -> None:
        await asyncio.gather(*(watched.host.close() for watched in self._watched.values()), return_exceptions=True)

    async def build_cache_prune(self) -> Mapping[str, object]:
        """Give the pruner's block of ``/queue``."""
        runs = await self.runs.all(prune.TASK, self.options)
        hosts = {name: (one.prune, runs.get(name, Run())) for name, one in self.options.items()}
        return prune.status(prune_options(self._config.upkeep.build_cache), hosts)

    async def disk_monitor(self) -> Mapping[str, object]:
        """Give the watchdog's block of ``/queue``."""
        runs = await self.runs.all(disk.TASK, [*self.options, PondPlace.name])
        options = {name: one.disk for name, one in self.options.items()} | {PondPlace.name: self.pond_disk}
        each = {name: disk.status_of(one, runs.get(name, Run())) for name, one in options.items()}
        pond = each.pop(PondPlace.name)
        errors = [f"{name}: {one['last_error']}" for name, one in (each | {"pond": pond}).items() if one["last_error"]]
        return {
            "enabled": self._config.upkeep.disk.enabled,
            "interval_s": self._config.upkeep.disk.interval_s,
            "last_error": "; ".join(errors) or None,
            "pond": pond,
            "hosts": each,
        }


@dataclass(frozen=True, slots=True)
class _Both:
    """What is deployed, and what is being pre-pulled."""

    deployed: Roots
    underway: Roots

    async def protected(self, host: str) -> Collection[str]:
        """Give what either protects."""
        return {*await self.deployed.protected(host), *await self.underway.protected(host)}
