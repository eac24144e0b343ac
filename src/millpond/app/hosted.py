"""The first floor: the hosts, on the ground of `core`."""

from __future__ import annotations

from millpond.app.callingoff import UnderWay
from millpond.app.core import Core, Role
from millpond.app.hosting import Around, Connect, Hosting
from millpond.app.operating import Operation
from millpond.app.ponddisk import PondDisk
from millpond.app.sourcing import Source
from millpond.app.upkeep import Upkeep
from millpond.clock import Clock
from millpond.config import Config
from millpond.hosts.giving import Underway
from millpond.hosts.ports import Notifier
from millpond.metrics import Metrics

HOSTING = ("hosts", "apps", "upkeep", "notify")
"""The tables that the hosts' area is made of."""


class Hosted(Core):
    """An application's hosts and upkeep, whatever is reloaded."""

    def __init__(self, config: Config, source: Source, role: Role, clock: Clock, metrics: Metrics) -> None:
        super().__init__(config, source, role, clock, metrics)
        self.underway = Underway()
        self.running = UnderWay()
        self.operations: dict[str, Operation] = {}
        """All of them by name; whoever opens an application puts them there (`opening`)."""
        self._hostings: list[Hosting] = []
        """Those that a reload replaced, and that may still be used."""

    def _open_hosts(self, connect: Connect | None, notifier: Notifier | None) -> None:
        self.upkeep = Upkeep(self)
        around = Around(PondDisk(self, self.upkeep), self.underway)

        def hosting(config: Config) -> Hosting:
            return Hosting(self, config, around, connect=connect, notifier=notifier)

        self._hosting_of = hosting
        self.hosting = hosting(self.config)

    def _start_hosting(self) -> None:
        if self._started and self.role.number == 0:
            self.hosting.start()

    async def _reload_hosting(self, old: Config, config: Config) -> None:
        """Replace the hosts if they are configured otherwise; the old ones go on until their last operation ends."""
        if all(getattr(old, table) == getattr(config, table) for table in HOSTING):
            return
        self._hostings = [*(one for one in self._hostings if not one.over), self.hosting]
        await self.hosting.retire()
        self.hosting = self._hosting_of(config)
        self._start_hosting()

    async def _close_hosting(self) -> None:
        for hosting in (self.hosting, *self._hostings):
            await hosting.close()
