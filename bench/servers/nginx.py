"""nginx in three parts: static files (what everything is set against), a cache of the upstream, the upstream itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.objects import Object
from bench.servers.base import Cache, Server

OWN = "own"
"""The last part of a name under which the upstream is asked directly, to know how fast it is."""
LOG_S = 0.1
"""After so long a request that was answered is in the log."""
_FRAME = """\
daemon off;
worker_processes {workers};
{affinity}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush {nopush};
  access_log off;
  keepalive_requests 1000000000;
  open_file_cache max=4000 inactive=1h;
  client_body_temp_path {folder}/tmp-body; proxy_temp_path {folder}/tmp-proxy; fastcgi_temp_path {folder}/tmp-f;
  uwsgi_temp_path {folder}/tmp-u; scgi_temp_path {folder}/tmp-s;
{inside}
}}
"""


class Nginx(Server):
    """nginx serving the objects' folder, with one worker."""

    name: ClassVar[str] = "nginx"
    program: ClassVar[str] = "nginx"
    workers: ClassVar[int] = 1
    nopush: ClassVar[str] = "on"

    def inside(self) -> str:
        """Give the `http` block's own part."""
        return f"  server {{ listen 127.0.0.1:{self.port}; root {self.site.objects.folder}; }}"

    def argv(self) -> list[str]:
        """Write the configuration."""
        masks = " ".join(f"{1 << core:b}" for core in sorted(self.site.cores))
        pinned = self.workers == len(self.site.cores)
        text = _FRAME.format(
            workers=self.workers,
            nopush=self.nopush,
            affinity=f"worker_cpu_affinity {masks};" if pinned else "",
            folder=self.folder,
            inside=self.inside(),
        )
        (self.folder / "nginx.conf").write_text(text)
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class NginxTwo(Nginx):
    """The same with two workers."""

    name: ClassVar[str] = "nginx-2"
    workers: ClassVar[int] = 2


class NginxCache(Nginx, Cache):
    """nginx as a cache (proxy_cache); one fetch for clients of the same object (proxy_cache_lock)."""

    name: ClassVar[str] = "nginx-cache"
    # Each server is measured at its best: with it on, the last part of a cached 100 KiB body waits 40 ms for an
    # acknowledgement (load b: 1,450 requests/s instead of 8,900). Static files are as fast either way.
    nopush: ClassVar[str] = "off"

    def inside(self) -> str:
        """Cache everything for an hour; the upstream's connections are kept."""
        upstream = self.site.upstream.removeprefix("http://")
        host, _, path = upstream.partition("/")
        cache = f"{self.folder}/cache"
        return f"""\
  proxy_cache_path {cache} levels=1:2 keys_zone=bench:64m max_size=64g inactive=1d use_temp_path=off;
  upstream origin {{ server {host}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://origin/{path};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache bench;
      proxy_cache_valid 200 1h;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
    }}
  }}"""

    def empty(self) -> None:
        """Make everything cold again: keys without a file are misses."""
        for child in (self.folder / "cache").glob("?"):
            shutil.rmtree(child, ignore_errors=True)


class Origin(Nginx):
    """The upstream: the objects' folder, each request noted, any number of names for one large object.

    ``/as/NAME/anything`` is the object NAME, so that an object can be cold as often as is wanted.
    """

    name: ClassVar[str] = "origin"

    def inside(self) -> str:
        """Note each request's method, status and target; package indexes by their media types."""
        root = self.site.objects.folder
        return f"""\
  log_format bench '$request_method $status $uri';
  server {{
    listen 127.0.0.1:{self.port};
    root {root};
    access_log {self.folder}/access.log bench;
    location ~ ^/as/([^/]+)/ {{ alias {root}/$1; }}
    location /pages/ {{ types {{ text/html html; }} index index.html; }}
    location ~ ^/debian/dists/[^/]+/main/binary-amd64/Packages$ {{
      types {{ }}
      default_type "application/octet-stream";
      alias {root}/Packages;
      access_log {self.folder}/access.log bench;
    }}
    location /debian/dists/ {{ return 404; }}
    location ~ ^/debian/pool/ {{ types {{ }} default_type "application/octet-stream"; alias {root}/package.deb; }}
    location ~ ^/rpm/[^/]+/repodata/primary[.]xml$ {{
      types {{ }}
      default_type "application/octet-stream";
      alias {root}/primary.xml;
      access_log {self.folder}/access.log bench;
    }}
    location ~ ^/rpm/[^/]+/repodata/ {{ return 404; }}
    location ~ ^/rpm/[^/]+/Packages/ {{
      types {{ }}
      default_type "application/octet-stream";
      alias {root}/package.rpm;
    }}
    location ~ ^/registry/[^/]+$ {{
      types {{ }}
      default_type "application/json";
      alias {root}/packument.json;
      access_log {self.folder}/access.log bench;
    }}
    location /simple/ {{
      types {{ }}
      default_type "application/vnd.pypi.simple.v1+json";
      index index.json;
      access_log {self.folder}/access.log bench;
    }}
  }}"""

    def fetches(self) -> int:
        """Count the requests for bodies so far, but for our own direct ones."""
        time.sleep(LOG_S)
        lines = Path(self.folder, "access.log").read_text().splitlines()
        return sum(line.startswith("GET ") and not line.endswith(f"/{OWN}") for line in lines)

    def fill(self, wanted: Sequence[Object]) -> None:
        """The objects' folder is its own."""
        del wanted
