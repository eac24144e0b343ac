"""Memory (PSS, so that shared pages count once): idle, with slow clients, with 50 streams at a time.

What the pond holds for clients is what its processes have beyond idle at their largest moment; what the kernel keeps
in the page cache is not the pond's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from bench import machine, objects
from bench.clients import fetch, slow
from bench.clients.driving import Driver
from bench.loads.base import Group, Setting, available
from bench.loads.lag import LagWatch
from bench.model import Sample
from bench.servers.base import Site
from bench.servers.millpond import Millpond, MillpondTwo

GROUP = "memory"
IDLE = "idle"
STREAMS, COLD_STREAMS = "50 streams of stored 1 GiB objects", "50 streams of cold 200 MiB objects"
SLOW, COLD_SLOW = "200 slow clients of a stored object", "50 slow clients of cold objects"
LOADS = (STREAMS, COLD_STREAMS, SLOW, COLD_SLOW)
HELD, GROWTH = "memory", "memory over idle"
KINDS: tuple[type[Millpond], ...] = (Millpond, MillpondTwo)
CLIENTS, MANY, RATE, STEP_S, SETTLE_S, PATIENCE = 50, 200, 20_000, 0.05, 2.0, 40


def run(setting: Setting) -> Iterator[Sample]:
    """Measure each, with a pond that was just started, since what was held before tells nothing of a load."""
    with setting.origin() as origin:
        for turn in range(setting.rounds):
            for kind in available(KINDS, setting):
                for number, case in enumerate((IDLE, *LOADS)):
                    cores = machine.SERVER_CORES if kind.workers == 1 else machine.BOTH_CORES
                    site = setting.site(f"{kind.name}-memory-{turn}-{number}", origin.base, cores)
                    what = f"round {turn + 1}: {kind.name}: {case}"
                    found = setting.attempt(what, partial(_measure, kind, site, case, setting))
                    for one in found[:1]:
                        machine.say(f"{what}: {one.value:,.0f} {one.unit}")
                    yield from found


def _measure(kind: type[Millpond], site: Site, case: str, setting: Setting) -> list[Sample]:
    with kind(site) as server:
        idle = settled(server)
        if case == IDLE:
            return [Sample(GROUP, IDLE, kind.name, HELD, "MiB", idle, more_is_better=False)]
        try:
            with LagWatch(server, GROUP, case) as lag:
                most = _most(server, case, setting)
        finally:
            server.empty()
        return [Sample(GROUP, case, kind.name, GROWTH, "MiB", most - idle, more_is_better=False), *lag.samples]


def settled(server: Millpond) -> float:
    """Let it come to rest, and see what it holds then."""
    time.sleep(SETTLE_S)
    return machine.memory(server.pids())


def _most(server: Millpond, case: str, setting: Setting) -> float:
    """Give the most that it held during a load. Raises `RuntimeError` where a client was not served."""
    stored = case in {STREAMS, SLOW}
    one = setting.objects.get(objects.GIGABYTE if stored else objects.BIG)
    if stored:
        server.fill([one])
    targets = [server.target(one) if stored else f"{server.mount}as/{one.name}/{n}" for n in range(CLIENTS)]
    if case in {STREAMS, COLD_STREAMS}:
        with Driver(fetch.Order(server.port, targets, CLIENTS), machine.load_cores()) as driver:
            most = watch(server, driver, setting)
            if not driver.running:
                driver.answers()
            return most
    clients = MANY if stored else CLIENTS
    order = slow.Order(server.port, targets, clients, RATE, max(setting.seconds, SETTLE_S))
    with Driver(order, machine.load_cores(), "bench.clients.slow") as driver:
        most = watch(server, driver, setting)
        served = driver.output().split()[-1:]
    if served != [str(clients)]:
        raise RuntimeError(f"{case}: {served} of {clients} clients were served")
    return most


def watch(server: Millpond, driver: Driver, setting: Setting) -> float:
    """Look again and again what it holds, until the driver is done, or for 40 times a round's seconds."""
    until, most = time.monotonic() + PATIENCE * setting.seconds, 0.0
    while driver.running and time.monotonic() < until:
        most = max(most, machine.memory(server.pids()))
        time.sleep(STEP_S)
    return most


MEMORY = Group(GROUP, "memory: idle, slow clients, 50 streams; one worker and two", run)
