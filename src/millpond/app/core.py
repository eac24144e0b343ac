"""The ground floor of an open application: the data, the artifacts, who may do what.

It knows nothing of hosts and of delivery, which are built upon it (`hosted`, then `application`).
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from millpond.access.admin import ensure_admin
from millpond.access.pulls import PullTokens
from millpond.access.tokens import Tokens
from millpond.adapters.filesystem import FilesystemStore
from millpond.adapters.flightlock import FileFlightLock
from millpond.adapters.sshfolder import socket_folder
from millpond.adapters.stamps import MappedStamps
from millpond.app.adopting import adopt, is_known, passed_over
from millpond.app.loading import AnyUpstream, format_of, freshness_of, rules_of, shown, upstream_of
from millpond.app.preflight import BACKUPS, CATALOG
from millpond.app.room import Room
from millpond.app.sourcing import Source
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.compute import Compute
from millpond.artifacts.derived import Derived
from millpond.artifacts.flights import Flights
from millpond.artifacts.formats import FORMATS
from millpond.artifacts.hits import Hits
from millpond.artifacts.landing import Pond, Remote
from millpond.artifacts.proxy import Proxy
from millpond.artifacts.repository import LocalOptions, LocalRepository
from millpond.artifacts.sidecars import Sidecars
from millpond.artifacts.usage import Usage
from millpond.clock import Clock
from millpond.config import Config, RepositoryConfig, with_adopted
from millpond.db import Database, restore
from millpond.errors import Busy, NotFound
from millpond.leases import Leases, node_id
from millpond.loops import Loops
from millpond.metrics import Metrics

DERIVED_BYTES = 1 << 30
RETIRE_AFTER_S = 600.0
ADOPTION_S = 10.0
Repository = Proxy | LocalRepository
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """What this process is: worker `number` of `count` of a daemon, or a command (exclusive) that needs the data."""

    number: int = 0
    count: int = 1


class Core:
    """What every part of an application stands on."""

    repositories: dict[str, Repository]

    def __init__(self, config: Config, source: Source, role: Role, clock: Clock, metrics: Metrics) -> None:
        self.config, self.source, self.role, self.clock, self.metrics = config, source, role, clock, metrics
        self.repositories = {}
        self.skipped: tuple[str, ...] = ()
        self.new_admin_token: str | None = None
        self.loops = Loops()
        self._started = False
        self._adopting: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._upstreams: list[AnyUpstream] = []
        self._retired: list[tuple[float, AnyUpstream]] = []

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.config.server.data

    @property
    def serving(self) -> bool:
        """Whether this is a daemon's worker, that hosts can pull from."""
        return self._started

    @cached_property
    def ssh_folder(self) -> Path:
        """The folder of ssh's sockets; emptied when it is first asked for."""
        return socket_folder(self.data, self.role.number)

    def _open_data(self, *, mend: bool) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.config.storage_path.mkdir(parents=True, exist_ok=True, mode=0o750)
        if mend:
            restored = restore(self.data / CATALOG, self.data / BACKUPS, self.clock.now())
            if restored is not None:
                log.warning("the catalog was damaged", problem=restored.problem, kept=str(restored.damaged))
        self.db = Database.open(self.data / CATALOG, clock=self.clock)
        self.leases = Leases(self.db, self.clock)
        self.node = node_id(self.data)
        self._stamps = MappedStamps(self.data / "stamps")
        self._stamps.touch_all()  # a worker that died may not have told the others of its last commit

    async def _open_artifacts(self, *, mend: bool) -> None:
        self.store = FilesystemStore(self.config.storage_path)
        self.catalog = Catalog(self.db, self.store, self._stamps, self.clock, Sidecars(self.config.storage_path))
        self.compute = Compute()
        self.derived = Derived(self.data / "derived", self.store, self.compute, FORMATS, DERIVED_BYTES)
        self.lock = FileFlightLock(self.data / "spool")
        self.flights = Flights(self.lock)
        self.room = Room(self.data / "spool", self.config.storage_path, self.config.storage.keep_free)
        self.usage = Usage(self.db, self.clock)
        self.hits = Hits(self._stamps, self.clock, self.usage, self.metrics)
        self._writer = ThreadPoolExecutor(2, thread_name_prefix="spool")
        self.pond = Pond(
            catalog=self.catalog,
            flights=self.flights,
            derived=self.derived,
            clock=self.clock,
            metrics=self.metrics,
            room_bytes=self.room.bytes,
            writer=self._spool_writer,
        )
        if not mend and not await self.catalog.owns_storage():
            log.warning("the storage holds more than the catalog knows: stop and run `millpond fsck --repair`")

    async def _open_access(self, *, admin: bool) -> None:
        self.tokens = Tokens(self.db, self.clock, self._stamps)
        self.pulls = PullTokens.at(self.data / "pull-token-key", self.clock)
        if admin:
            self.new_admin_token = await ensure_admin(self.tokens, self.data / "admin-token")

    async def _open_upstreams(self, *, wait: bool) -> None:
        """Make the repositories; without `wait`, where this machine's upstreams must be looked for, a little later."""
        if wait or self.config.repositories or is_known(self.config, self.data):
            await self._open_repositories(self.config)
        else:
            self._adopting = asyncio.create_task(self._adopt_first(self.config))

    async def _adopt_first(self, config: Config) -> None:
        async with self._opening:
            await self._open_repositories(config)

    async def _open_repositories(self, config: Config) -> None:
        """Adopt what is to be adopted, then make every repository; a mistake leaves the present ones in place."""
        found = await asyncio.to_thread(adopt, config, self.data)
        config = with_adopted(config, found)
        upstreams: list[AnyUpstream] = []
        made = {
            name: self._repository(name, settings, config, upstreams) for name, settings in config.repositories.items()
        }
        now = self.clock.monotonic()
        self._retired += [(now, upstream) for upstream in self._upstreams]
        self._upstreams = upstreams
        self.config, self.repositories = config, made
        self.hits.clear()
        self.skipped = tuple(f"{package}: {reason}" for package, reason in passed_over(found))

    def _spool_writer(self) -> ThreadPoolExecutor | None:
        """Give the threads that hash and write, if there is a processor for them beside the event loop's."""
        return self._writer if len(os.sched_getaffinity(0)) > 1 else None

    def _repository(
        self, name: str, settings: RepositoryConfig, config: Config, upstreams: list[AnyUpstream]
    ) -> Repository:
        format_ = format_of(settings)
        rules = rules_of(settings)
        if settings.type == "local":
            options = LocalOptions(name, format_, rules, settings.allow_overwrite, settings.max_upload)
            return LocalRepository(options, self.pond, self.lock)
        upstream = upstream_of(name, settings, config, self.clock)
        upstreams.append(upstream)
        patience_s = config.upstream_of(settings).patience_s
        return Proxy(Remote(name, format_, upstream, freshness_of(settings, format_), rules, patience_s), self.pond)

    def repository(self, name: str) -> Repository:
        """Give a repository. Raises `NotFound`."""
        found = self.repositories.get(name)
        if found is None:
            raise NotFound(f"there is no repository {name!r}; `millpond repo ls` lists them")
        return found

    async def adopted(self) -> None:
        """Wait until what is to be adopted is there. Raises `Busy` when that takes too long, `ConfigError`."""
        if self._adopting is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._adopting), ADOPTION_S)
        except TimeoutError as error:
            raise Busy("this machine's own upstreams are still being looked for: ask again in a moment") from error

    def settings(self) -> dict[str, dict[str, Any]]:
        """Give the repositories' settings for people, secrets masked."""
        return shown(self.config)

    def masked(self) -> dict[str, Any]:
        """Give the whole configuration for people, secrets masked."""
        return self.config.masked()

    async def retire(self) -> None:
        """Close the upstreams that a reload replaced, once their flights have had time to land."""
        now = self.clock.monotonic()
        due = [upstream for since, upstream in self._retired if now - since > RETIRE_AFTER_S]
        self._retired = [(since, upstream) for since, upstream in self._retired if upstream not in due]
        for upstream in due:
            await upstream.close()

    async def _close_core(self) -> None:
        """Close the ground floor, last; what was noted is written first."""
        await self.loops.close()
        await self.flights.close()
        self.hits.flush()
        await self.usage.flush()
        for upstream in (*self._upstreams, *(upstream for _, upstream in self._retired)):
            await upstream.close()
        await self.compute.close()
        self._writer.shutdown()
        await self.db.close()
        self._stamps.close()
