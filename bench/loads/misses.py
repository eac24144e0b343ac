"""Misses and herds: cold objects drawn through Millpond and through nginx's cache from the same upstream.

The server is on one core beside upstream and client on the other, and then on both ("both cores"). Everything is
made cold again after each measurement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench import machine, objects
from bench.clients import driving
from bench.clients.fetch import Answer, Order
from bench.loads.base import Group, Setting, available
from bench.loads.lag import LagWatch
from bench.model import PROCESSOR, RATE, Sample
from bench.servers.base import Cache
from bench.servers.millpond import Millpond
from bench.servers.nginx import OWN, NginxCache, Origin

KINDS: tuple[type[Cache], ...] = (NginxCache, Millpond)
PINNINGS = (("one core", machine.SERVER_CORES), ("both cores", machine.BOTH_CORES))
FETCHES = "upstream fetches"
FIRST_BYTE = "first byte behind upstream's"


@dataclass(frozen=True, slots=True)
class Load:
    """One load: objects that are cold, and how many clients ask. `shared`: all ask for the same one."""

    group: str
    name: str
    names: tuple[str, ...]
    clients: int
    shared: bool = False
    bytes_count: bool = False


LOADS = (
    Load("misses", "200 MiB, 1 client", (objects.BIG,), 1, bytes_count=True),
    Load("misses", "100 KiB, 8 clients", objects.MANY_MEDIUM, 8),
    Load("misses", "2 KiB, 8 clients", objects.COLD_SMALL, 8),
    Load("herd", "200 MiB, 8 clients of one object", (objects.BIG,), 8, shared=True, bytes_count=True),
    Load("herd", "10 MiB, 200 clients of one object", (objects.TEN,), 200, shared=True, bytes_count=True),
)


def _run(group: str) -> Callable[[Setting], Iterator[Sample]]:
    def run(setting: Setting) -> Iterator[Sample]:
        loads = [load for load in LOADS if load.group == group]
        with setting.origin() as origin:
            for pinning, cores in PINNINGS:
                yield from _pinned(setting, origin, loads, (pinning, cores))

    return run


def _pinned(
    setting: Setting, origin: Origin, loads: Sequence[Load], pinning: tuple[str, frozenset[int]]
) -> Iterator[Sample]:
    text, cores = pinning
    with contextlib.ExitStack() as stack:
        servers: list[Cache] = [
            stack.enter_context(kind(setting.site(f"{kind.name}-{text}", origin.base, cores)))
            for kind in available(KINDS, setting)
        ]
        for turn in range(setting.rounds):
            for load in loads:
                for name in load.names:
                    setting.objects.get(name)
                for server in servers:
                    case = f"{load.name}, {text}"
                    what = f"round {turn + 1}: {case}: {server.name}"
                    found = setting.attempt(what, partial(measure, load, case, server, origin))
                    for one in found[:1]:
                        machine.say(f"{what} {one.value:,.0f} {one.unit}")
                    yield from found


def measure(load: Load, case: str, server: Cache, origin: Origin) -> list[Sample]:
    """Fetch cold objects once; then make them cold again, whatever happened."""
    own = _fetch(load, [f"/as/{name}/{OWN}" for name in load.names], origin.port) if load.bytes_count else []
    before, pids = origin.fetches(), server.pids()
    try:
        with LagWatch(server, load.group, case) as lag:
            used_s = machine.processor_s(pids)
            answers = _fetch(load, [server.mount + name for name in load.names], server.port)
            used_s = machine.processor_s(pids) - used_s
    finally:
        server.empty()
    fetches = origin.fetches() - before
    total, took = sum(one[3] for one in answers), driving.seconds(answers)

    def sample(metric: str, unit: str, value: float, *, more_is_better: bool) -> Sample:
        return Sample(load.group, case, server.name, metric, unit, value, more_is_better)

    rate, unit = (total / took / 1e6, "MB/s") if load.bytes_count else (len(answers) / took, "objects/s")
    each, done = ("MB", total / 1e6) if load.bytes_count else ("object", len(answers))
    found = [
        sample(RATE, unit, rate, more_is_better=True),
        sample(PROCESSOR, f"µs/{each}", used_s * 1e6 / done, more_is_better=False),
    ]
    if load.bytes_count:
        late = driving.first_byte_ms(answers) - driving.first_byte_ms(own)
        found.append(sample(FIRST_BYTE, "ms", late, more_is_better=False))
    if load.shared:
        found.append(sample(FETCHES, "", fetches, more_is_better=False))
    return [*found, *lag.samples]


def _fetch(load: Load, targets: list[str], port: int) -> list[Answer]:
    asked = targets * (load.clients if load.shared else 1)
    return driving.fetch(Order(port, asked, load.clients), machine.load_cores())


MISSES = Group("misses", "misses: cold objects of 200 MiB, 100 KiB, 2 KiB, beside nginx's cache", _run("misses"))
HERD = Group("herd", "herds: 8 and 200 clients of one cold object, beside nginx's cache", _run("herd"))
