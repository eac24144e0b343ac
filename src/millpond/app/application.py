"""The whole application: delivery above the hosts, and what a reload changes in all of them.

Everything is wired and nothing decided. Each floor (`core`, `hosted`, this one) opens and closes its own part; the same
object serves the daemon's workers, the commands without a daemon, and the tests. `opening` makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from millpond.app.accepted import LASTING, read, read_again
from millpond.app.core import Role
from millpond.app.counterparts import Counterparts
from millpond.app.delivering import TABLES, Delivering
from millpond.app.hosted import Hosted
from millpond.app.hosting import Connect
from millpond.app.sourcing import Source
from millpond.clock import Clock
from millpond.config import Config
from millpond.errors import MillpondError
from millpond.hosts.ports import Notifier
from millpond.metrics import Metrics

log = structlog.get_logger(__name__)


class App(Hosted):
    """The application; made by `opening.open_app`, and `close` it."""

    def __init__(self, config: Config, source: Source, role: Role, clock: Clock, metrics: Metrics) -> None:
        super().__init__(config, source, role, clock, metrics)
        self.on_reload: list[Callable[[], object]] = []
        """Called when a reload has changed the configuration."""
        self.ask_all: Callable[[], Awaitable[None]] | None = None
        """Has the supervisor reload every worker; None: this process is the only one."""

    async def opened(
        self,
        *,
        mend: bool,
        wait: bool,
        admin: bool,
        connect: Connect | None,
        notifier: Notifier | None,
        counterparts: Counterparts | None,
    ) -> None:
        """Open floor upon floor; `opening.open_app` says what the arguments mean, and what is raised."""
        self._open_data(mend=mend)
        await self._open_artifacts(mend=mend)
        await self._open_access(admin=admin)
        self._open_hosts(connect, notifier)
        self._open_delivery(counterparts)
        await self._open_upstreams(wait=wait)

    def _open_delivery(self, counterparts: Counterparts | None) -> None:
        def delivering(config: Config) -> Delivering:
            return Delivering(self, config, notifier=self.hosting.notifier, counterparts=counterparts)

        self._delivering_of = delivering
        self.delivering = delivering(self.config)

    async def started(self) -> None:
        """Start the background loops."""
        self.upkeep.start(self.loops)
        self._started = True
        self._start_hosting()
        self._start_delivery()

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
            await self._reload_hosting(old, config)
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
        await made.prepared()  # who reloads for a new project pushes to its repository next

    async def drained(self, drain_s: float) -> None:
        """Let flights land, then close."""
        await self.flights.close(drain_s)
        await self.close()

    async def close(self) -> None:
        """Close everything, from the top."""
        if self._adopting is not None:
            await asyncio.gather(self._adopting, return_exceptions=True)
        await self.delivering.close()
        await self._close_hosting()
        await self._close_core()
