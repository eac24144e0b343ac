"""Varnish: an HTTP cache in memory."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from bench.servers.base import Server

_VCL = """\
vcl 4.1;
backend origin {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
"""


class Varnish(Server):
    """Varnish with a store of 1 GiB, in one process that is kept in the foreground."""

    name: ClassVar[str] = "varnish"
    program: ClassVar[str] = "varnishd"

    def argv(self) -> list[str]:
        """Write the VCL; the threads of one core are plenty at 100."""
        origin = urlsplit(self.site.upstream)
        vcl = self.folder / "bench.vcl"
        vcl.write_text(_VCL.format(host=origin.hostname, port=origin.port))
        work = self.folder / "work"
        return [
            *("varnishd", "-F", "-a", f"127.0.0.1:{self.port}", "-f", str(vcl), "-n", str(work)),
            *("-s", "malloc,1g", "-j", "none", "-T", "none"),
            *("-p", "thread_pools=1", "-p", "thread_pool_min=50", "-p", "thread_pool_max=500"),
        ]
