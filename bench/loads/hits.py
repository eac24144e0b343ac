"""Hits: loads a to e and many URLs, everything hot, servers in turn within each round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench import machine, objects, wrk
from bench.loads.base import Group, Setting, available
from bench.loads.lag import LagWatch
from bench.model import PROCESSOR, RATE, Sample
from bench.servers.asking import NOT_MODIFIED, PARTIAL, get
from bench.servers.base import Server
from bench.servers.millpond import Millpond, MillpondTwo
from bench.servers.nginx import Nginx, NginxCache, NginxTwo, Origin
from bench.servers.peers import PEERS
from bench.servers.squid import Squid
from bench.servers.varnish import Varnish

GROUP = "hits"
WARM_S = 2.0
ONE: tuple[type[Server], ...] = (Nginx, NginxCache, Millpond, Varnish, Squid, *PEERS)
TWO: tuple[type[Server], ...] = (NginxTwo, MillpondTwo)
RANGES = tuple(f"bytes={n << 20}-{((n + 1) << 20) - 1}" for n in range(objects.LARGE_BYTES >> 20))


@dataclass(frozen=True, slots=True)
class Load:
    """One load: which objects, how many connections, what is asked of them."""

    name: str
    names: tuple[str, ...]
    connections: int
    ranges: tuple[str, ...] = ("",)
    conditional: bool = False
    bytes_count: bool = False
    """Whether the figure is megabytes per second, since a round has few requests."""


LOADS = (
    Load("a: 2 KiB, 32 connections", (objects.SMALL,), 32),
    Load("b: 100 KiB, 32 connections", (objects.MEDIUM,), 32),
    Load("c: 100 MiB, 4 connections", (objects.LARGE,), 4, bytes_count=True),
    Load("d: 1 MiB ranges of c, 4 connections", (objects.LARGE,), 4, ranges=RANGES),
    Load("e: If-None-Match giving 304, 32 connections", (objects.SMALL,), 32, conditional=True),
    Load("f: 1,000 objects of 2 KiB, 32 connections", objects.MANY_SMALL, 32),
    Load("g: 1,000 objects of 100 KiB, 32 connections", objects.MANY_MEDIUM, 32),
)


def run(setting: Setting) -> Iterator[Sample]:
    """Measure hits, on one core and then on two."""
    with setting.origin() as origin:
        for kinds, cores in ((ONE, machine.SERVER_CORES), (TWO, machine.BOTH_CORES)):
            yield from _measure(setting, origin, kinds, cores)


def _measure(
    setting: Setting, origin: Origin, kinds: Sequence[type[Server]], cores: frozenset[int]
) -> Iterator[Sample]:
    with contextlib.ExitStack() as stack:
        servers = []
        for kind in available(kinds, setting):
            try:
                servers.append(stack.enter_context(kind(setting.site(kind.name, origin.base, cores))))
            except RuntimeError as error:
                setting.failed.append(str(error))
                machine.say(f"{kind.name} is left out: {error}")
        plan = [(load, ready(load, servers, setting)) for load in LOADS]
        for turn in range(setting.rounds):
            for load, fit in plan:
                for server, headers in fit:
                    what = f"round {turn + 1}: {load.name}: {server.name}"
                    found = setting.attempt(what, partial(_ask, load, server, headers, setting))
                    for one in found[:1]:
                        machine.say(f"{what} {one.value:,.0f} {one.unit}")
                    yield from found


def ready(load: Load, servers: Sequence[Server], setting: Setting) -> list[tuple[Server, Mapping[str, str]]]:
    """Fill the servers, and look whether each answers as the load means it; gives those that do."""
    found = []
    wanted = [setting.objects.get(name) for name in load.names]
    for server in servers:
        if not server.has(load.names):
            continue
        try:
            server.fill(wanted)
            headers = _headers(load, server, setting)
            if len(wanted) > 1:
                # Every worker comes to know every object, not only the one that met it while filling.
                drive(load, server, headers, replace(setting, seconds=WARM_S))
        except (OSError, RuntimeError, wrk.Failed) as error:
            machine.say(f"{server.name} is left out of {load.name}: {error}")
            continue
        found.append((server, headers))
    return found


def _headers(load: Load, server: Server, setting: Setting) -> Mapping[str, str]:
    """Find what the load's requests carry. Raises `RuntimeError` where the server does not do what is asked."""
    url = server.base + server.target(setting.objects.get(load.names[0]))
    headers = dict(server.headers())
    if load.conditional:
        headers["If-None-Match"] = get(url, headers).headers.get("etag", '"none"')
        if (status := get(url, headers).status) != NOT_MODIFIED:
            raise RuntimeError(f"a condition is answered {status}")
    if load.ranges[0]:
        told = get(url, headers | {"Range": load.ranges[-1]})
        if told.status != PARTIAL or told.size != objects.MIB:
            raise RuntimeError(f"a range is answered {told.status} with {told.size} bytes")
    return headers


def _ask(load: Load, server: Server, headers: Mapping[str, str], setting: Setting) -> list[Sample]:
    pids = server.pids()
    with LagWatch(server, GROUP, load.name) as lag:
        before = machine.processor_s(pids)
        told = drive(load, server, headers, setting)
        used_us = (machine.processor_s(pids) - before) * 1e6
    _check(load, told, setting)
    if load.bytes_count:
        rate, unit, each, done = told.megabytes, "MB/s", "MB", told.bytes / 1e6
    else:
        rate, unit, each, done = told.rate, "requests/s", "request", float(told.requests)
    return [
        Sample(GROUP, load.name, server.name, RATE, unit, rate),
        Sample(GROUP, load.name, server.name, PROCESSOR, f"µs/{each}", used_us / done, more_is_better=False),
        *lag.samples,
    ]


def drive(load: Load, server: Server, headers: Mapping[str, str], setting: Setting) -> wrk.Summary:
    targets = [server.target(setting.objects.get(name)) for name in load.names]
    return wrk.run(
        server.base,
        [wrk.Asked(target, asked) for target in targets for asked in load.ranges],
        connections=load.connections,
        seconds=setting.seconds,
        cores=machine.load_cores(server.site.cores),
        headers=headers,
    )


def _check(load: Load, told: wrk.Summary, setting: Setting) -> None:
    """Insist that the answers had the bytes they should have. Raises `wrk.Failed`."""
    each = told.bytes / max(told.requests, 1)
    size = 0 if load.conditional else setting.objects.get(load.names[0]).size
    size = objects.MIB if load.ranges[0] else size
    # A head has less than 2 KiB; large bodies that are cut off at the end of the round count in bytes only.
    if each < size or (not load.bytes_count and each > size * 1.2 + 2048):
        raise wrk.Failed(f"{load.name}: answers had {each:.0f} bytes where bodies have {size}")


HITS = Group(GROUP, "hits: loads a to e, many URLs, one worker and two, beside nginx and peers", run)
