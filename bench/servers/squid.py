"""Squid: an HTTP cache, here as an accelerator with a store in memory."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from bench.servers.base import Server

_CONFIG = """\
http_port 127.0.0.1:{port} accel defaultsite=bench no-vhost
cache_peer {host} parent {origin} 0 no-query originserver name=origin
cache_peer_access origin allow all
http_access allow all
cache_mem 1024 MB
maximum_object_size 256 MB
maximum_object_size_in_memory 256 MB
memory_cache_mode always
refresh_pattern . 60 100% 60
access_log none
cache_log {folder}/cache.log
cache_store_log none
pid_filename {folder}/squid.pid
coredump_dir {folder}
pinger_enable off
netdb_filename none
shutdown_lifetime 1 seconds
max_filedescriptors 4096
"""


class Squid(Server):
    """Squid in one process."""

    name: ClassVar[str] = "squid"
    program: ClassVar[str] = "squid"

    def argv(self) -> list[str]:
        """Write the configuration."""
        origin = urlsplit(self.site.upstream)
        config = self.folder / "squid.conf"
        config.write_text(_CONFIG.format(port=self.port, host=origin.hostname, origin=origin.port, folder=self.folder))
        return ["squid", "-N", "-f", str(config)]
