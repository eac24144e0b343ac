"""apt-cacher-ng: a cache of Debian packages; its clients name the mirror's host in the path."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from bench.objects import MANY_SMALL, Object
from bench.servers.base import Server

_CONFIG = """\
Port: {port}
BindAddress: 127.0.0.1
CacheDir: {folder}/cache
LogDir: {folder}
SocketPath: {folder}/socket
PidFile: {folder}/pid
ForeGround: 1
AllowUserPorts: 0
ReportPage:
VerboseLog: 0
ExThreshold: 0
"""


class AptCacher(Server):
    """apt-cacher-ng in front of the upstream."""

    name: ClassVar[str] = "apt-cacher-ng"
    program: ClassVar[str] = "apt-cacher-ng"

    def has(self, names: Collection[str]) -> bool:
        """All but the thousand small ones: it opens files one by one, and the thousand larger ones show it."""
        return not set(MANY_SMALL).issuperset(names)

    def target(self, wanted: Object) -> str:
        """Give the path with the mirror's host and port in it."""
        return f"/{self.site.upstream.removeprefix('http://')}/{wanted.name}"

    def argv(self) -> list[str]:
        """Write the configuration: a folder of `.conf` files."""
        (self.folder / "conf").mkdir(exist_ok=True)
        (self.folder / "cache").mkdir(exist_ok=True)
        (self.folder / "conf" / "acng.conf").write_text(_CONFIG.format(port=self.port, folder=self.folder))
        return ["apt-cacher-ng", "-c", str(self.folder / "conf")]
