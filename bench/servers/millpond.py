"""Millpond itself, with one worker and with two; access checks, usage records and metrics are on as always."""

from __future__ import annotations

import re
from typing import ClassVar

from bench import machine
from bench.servers.asking import OK, get
from bench.servers.base import Cache, Site
from millpond.testing.pond import PondProcess

LAG = re.compile(r'^millpond_event_loop_lag_seconds_bucket\{.*?le="([^"]+)".*?\} (\S+)$', re.MULTILINE)
_CONFIG = """\
[repositories.up]
package = "generic"
base_url = "{upstream}"
immutable_patterns = ["."]
[repositories.pypi]
package = "pypi"
base_url = "{upstream}/simple/"
mutable_ttl_s = 3600
[repositories.debian]
package = "debian"
base_url = "{upstream}/debian/"
mutable_ttl_s = 3600
[repositories.rpm]
package = "rpm"
base_url = "{upstream}/rpm/"
mutable_ttl_s = 3600
[repositories.hub]
package = "docker"
base_url = "{upstream}"
[repositories.npm]
package = "npm"
base_url = "{upstream}/registry/"
mutable_ttl_s = 3600
"""


class Millpond(Cache):
    """A pond with repositories of plain files, of Python, npm, Debian and RPM packages, all drawn from the origin."""

    name: ClassVar[str] = "millpond-1"
    program: ClassVar[str] = "millpond"
    mount: ClassVar[str] = "/up/"
    workers: ClassVar[int] = 1

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        config = _CONFIG.format(upstream=site.upstream)
        self.pond = PondProcess(site.folder, config, port=self.port, workers=self.workers)

    @classmethod
    def unavailable(cls, peers: object) -> str:
        """It is always here."""
        del peers
        return ""

    def launch(self) -> None:
        """Start it on its cores; its threads and children inherit them."""
        with machine.on_cores(self.site.cores):
            self.pond.start()

    def halt(self) -> None:
        """Stop it."""
        self.pond.stop()

    def pids(self) -> list[int]:
        """List the daemon, its workers and the processes that they compute in."""
        return machine.descendants(self.pond.pid)

    def empty(self) -> None:
        """Drop everything cached. Raises `RuntimeError` where that is refused."""
        token = {"Authorization": f"Bearer {self.pond.admin_token}"}
        told = get(f"{self.base}/cache/flush", token, method="PUT")
        if told.status != OK:
            raise RuntimeError(f"the pond's flush answered {told.status}: {told.start[:300]!r}")

    def lag(self) -> dict[float, float]:
        """Read how often the event loops were at most so late: seconds to count, cumulative."""
        text = self.pond.get("/metrics").body.decode()
        return {float(bound): float(count) for bound, count in LAG.findall(text)}


class MillpondTwo(Millpond):
    """The same with two workers, on two cores."""

    name: ClassVar[str] = "millpond-2"
    workers: ClassVar[int] = 2
