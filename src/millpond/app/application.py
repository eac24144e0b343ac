"""One open application: everything wired, nothing decided.

`App.open` is a list of short steps, one per area. The same object serves the daemon's workers, the commands without a
daemon, and the tests.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
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
from millpond.app.accepted import LASTING, read, read_again
from millpond.app.adopting import adopt, is_known, passed_over
from millpond.app.callingoff import UnderWay
from millpond.app.delivering import TABLES, Counterparts, Delivering
from millpond.app.hosting import Connect, Hosting
from millpond.app.loading import AnyUpstream, Source, format_of, freshness_of, rules_of, shown, upstream_of
from millpond.app.operations import Operation, Operations
from millpond.app.room import Room
from millpond.app.upkeep import BACKUPS, Upkeep
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
from millpond.clock import Clock, SystemClock
from millpond.config import Config, RepositoryConfig, with_adopted
from millpond.db import Database, restore
from millpond.errors import Busy, MillpondError, NotFound
from millpond.hosts.giving import Underway
from millpond.hosts.ports import Notifier
from millpond.leases import Leases, node_id
from millpond.loops import Loops
from millpond.metrics import Metrics

CATALOG = "catalog.sqlite"
DERIVED_BYTES = 1 << 30
RETIRE_AFTER_S = 600.0
ADOPTION_S = 10.0
HOSTING = ("hosts", "apps", "upkeep", "notify")
"""The tables that the hosts' area is made of."""
Repository = Proxy | LocalRepository
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """What this process is: worker `number` of `count` of a daemon, or a command (exclusive) that needs the data."""

    number: int = 0
    count: int = 1


class App:
    """The application; made by `open`, and `close` it."""

    repositories: dict[str, Repository]

    def __init__(self, config: Config, source: Source, role: Role, clock: Clock, metrics: Metrics) -> None:
        self.config, self.source, self.role, self.clock, self.metrics = config, source, role, clock, metrics
        self.repositories = {}
        self.skipped: tuple[str, ...] = ()
        self.new_admin_token: str | None = None
        self.loops = Loops()
        self.on_reload: list[Callable[[], object]] = []
        """Called when a reload has changed the configuration."""
        self.ask_all: Callable[[], Awaitable[None]] | None = None
        """Has the supervisor reload every worker; None: this process is the only one."""
        self._started = False
        self._adopting: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._upstreams: list[AnyUpstream] = []
        self._retired: list[tuple[float, AnyUpstream]] = []
        self._hostings: list[Hosting] = []
        """Those that a reload replaced, and that may still be used."""
        self.underway = Underway()
        self.running = UnderWay()
        self.operations: dict[str, Operation] = Operations(self).all()

    @classmethod
    async def open(
        cls,
        config: Config,
        source: Source,
        *,
        role: Role | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        mend: bool = False,
        wait: bool = True,
        admin: bool = True,
        connect: Connect | None = None,
        notifier: Notifier | None = None,
        counterparts: Counterparts | None = None,
    ) -> App:
        """Open everything; `mend`: put the newest good backup in the place of a damaged catalog first.

        `wait`: also for upstreams that have to be looked for on this machine; else they come when they are found.
        `admin`: make the first token if there is none. `connect`, `notifier` and `counterparts`: in the place of ssh,
        of the configured services, and of tracker and forge. Raises `ConfigError`, `Busy`, `OSError`, `db.Damaged`.
        """
        app = cls(config, source, role or Role(), clock or SystemClock(), metrics or Metrics())
        app._open_data(mend=mend)
        await app._open_artifacts(mend=mend)
        await app._open_access(admin=admin)
        app._open_hosts(connect, notifier)
        app._open_delivery(counterparts)
        if wait or config.repositories or is_known(config, app.data):
            await app._open_repositories(config)
        else:
            app._adopting = asyncio.create_task(app._adopt_first(config))
        return app

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.config.server.data

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
        self.upkeep = Upkeep(self)
        if not mend and not await self.catalog.owns_storage():
            log.warning("the storage holds more than the catalog knows: stop and run `millpond fsck --repair`")

    async def _open_access(self, *, admin: bool) -> None:
        self.tokens = Tokens(self.db, self.clock, self._stamps)
        self.pulls = PullTokens.at(self.data / "pull-token-key", self.clock)
        if admin:
            self.new_admin_token = await ensure_admin(self.tokens, self.data / "admin-token")

    @cached_property
    def ssh_folder(self) -> Path:
        """The folder of ssh's sockets; emptied when it is first asked for."""
        return socket_folder(self.data, self.role.number)

    def _open_hosts(self, connect: Connect | None, notifier: Notifier | None) -> None:
        def hosting(config: Config) -> Hosting:
            return Hosting(self, config, connect=connect, notifier=notifier)

        self._hosting_of = hosting
        self.hosting = hosting(self.config)

    def _open_delivery(self, counterparts: Counterparts | None) -> None:
        def delivering(config: Config) -> Delivering:
            return Delivering(self, config, notifier=self.hosting.notifier, counterparts=counterparts)

        self._delivering_of = delivering
        self.delivering = delivering(self.config)

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

    async def started(self) -> None:
        """Start the background loops."""
        self.upkeep.start(self.loops)
        self._started = True
        self._start_hosting()
        self._start_delivery()

    @property
    def serving(self) -> bool:
        """Whether this is a daemon's worker, that hosts can pull from."""
        return self._started

    def _start_hosting(self) -> None:
        if self._started and self.role.number == 0:
            self.hosting.start()

    def _start_delivery(self) -> None:
        if self._started and self.role.number == 0:
            self.delivering.start()

    async def reload(self) -> None:
        """Read the configuration again, in every worker; a mistake in it is logged and leaves everything as it was."""
        try:
            await self.reload_everywhere()
        except MillpondError as error:
            log.warning("not reloaded; the old configuration goes on", error=str(error))

    async def reload_everywhere(self) -> None:
        """Read the configuration again, and wait until every worker has said that it took it.

        Raises `ConfigError`, or `MillpondError` naming the workers that did not take it.
        """
        if self.ask_all is not None:
            await self.ask_all()
        else:
            await self._apply(read_again(self.source, self.config))

    async def take(self, file: Path) -> None:
        """Take the configuration that the supervisor wrote down. Raises `ConfigError`, `OSError`."""
        config = await asyncio.to_thread(read, file)
        await self._apply(config.model_copy(update={table: getattr(self.config, table) for table in LASTING}))

    async def _apply(self, config: Config) -> None:
        async with self._opening:  # what is still being adopted, or read by an earlier signal, must not come last
            old = self.config
            await self._open_repositories(config)
            if any(getattr(old, table) != getattr(config, table) for table in HOSTING):
                await self._retire_hosting()
                self.hosting = self._hosting_of(config)
                self._start_hosting()
            await self._reload_delivery(config)
        for tell in self.on_reload:
            tell()
        log.info("reloaded", repositories=sorted(self.repositories))

    async def _reload_delivery(self, config: Config) -> None:
        """Read projects and boards again; what runs goes on, and is taken up by the new one."""
        old = self.delivering.config  # an earlier reload may have failed here, and have changed the rest
        if all(getattr(old, table) == getattr(config, table) for table in TABLES):
            self.delivering.forget_boards()
            return
        made = self._delivering_of(config)  # where that fails the old one goes on
        await self.delivering.close()
        self.delivering = made
        self._start_delivery()

    async def _retire_hosting(self) -> None:
        self._hostings = [*(one for one in self._hostings if not one.over), self.hosting]
        await self.hosting.retire()

    async def retire(self) -> None:
        """Close the upstreams that a reload replaced, once their flights have had time to land."""
        now = self.clock.monotonic()
        due = [upstream for since, upstream in self._retired if now - since > RETIRE_AFTER_S]
        self._retired = [(since, upstream) for since, upstream in self._retired if upstream not in due]
        for upstream in due:
            await upstream.close()

    async def drained(self, drain_s: float) -> None:
        """Let flights land, then close."""
        await self.flights.close(drain_s)
        await self.close()

    async def close(self) -> None:
        """Close everything; what was noted is written first."""
        if self._adopting is not None:
            await asyncio.gather(self._adopting, return_exceptions=True)
        await self.delivering.close()
        for hosting in (self.hosting, *self._hostings):
            await hosting.close()
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


class DataLock:
    """The lock of a live data directory; held by the daemon's first process, or by a command without a daemon."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise Busy(f"{data} is in use by another process: stop it, or choose another --data") from error

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)
