"""The registries and caches of one package format that are measured where they are installed."""

from __future__ import annotations

from bench.servers.aptcacher import AptCacher
from bench.servers.base import Server
from bench.servers.proxpi import Proxpi
from bench.servers.registry import Registry
from bench.servers.verdaccio import Verdaccio

PEERS: tuple[type[Server], ...] = (AptCacher, Registry, Verdaccio, Proxpi)
