"""The servers that are measured, one file each; `PEERS` are the registries and caches of one package format."""

from bench.servers.base import Server

PEERS: tuple[type[Server], ...] = ()
