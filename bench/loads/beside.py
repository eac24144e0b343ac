"""Hits beside other work: how long they take beside a busy miss, how many are left beside cold index rewrites.

The largest indexes are a packument of 120 MiB, a Debian index of 60 and a primary.xml of 150 MB: beside them the pond's
memory is watched too.

Beside a miss, a few paced clients ask for a small hit; their process is scheduled before everything else on its core,
so that what they wait for is the server. Beside index rewrites, load a goes on at full speed. The server, and what it
computes in processes of its own, has one core for all of it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Self

from bench import debianindex, indexes, machine, objects, packuments, rpmindex, wrk
from bench.clients import driving
from bench.clients.driving import Driver
from bench.clients.fetch import Answer, Order
from bench.loads.base import Group, Setting, available
from bench.loads.lag import LagWatch
from bench.model import Sample
from bench.servers.base import Cache
from bench.servers.millpond import Millpond
from bench.servers.nginx import NginxCache, Origin

GROUP = "beside"
MISS, INDEX, ALONE = "a miss of 200 MiB objects", "cold rewrites of 20 MiB indexes", "nothing"
PACKUMENT = "cold rewrites of 120 MiB packuments"
DEBIAN = "cold readings of 60 MiB Debian indexes"
RPM = "cold readings of 150 MB primary.xml"
P99, RATE, SHARE, DONE = "hit p99", "hits", "hits beside / alone", "rewrites done"
GROWTH, LOOK_S = "memory over idle", 0.1
KINDS: tuple[type[Cache], ...] = (NginxCache, Millpond)
PROBES, GAP_S = 4, 0.008
PAGES_PER_S = 4
"""More than can be rewritten, so that the work beside does not end before the hits."""
ACCEPT, NPM_ACCEPT = "application/vnd.pypi.simple.v1+json", "application/json"


def run(setting: Setting) -> Iterator[Sample]:
    """Measure each."""
    fresh = itertools.count()
    with setting.origin() as origin, contextlib.ExitStack() as stack:
        servers: list[Cache] = [
            stack.enter_context(kind(setting.site(kind.name, origin.base))) for kind in available(KINDS, setting)
        ]
        setting.objects.get(objects.BIG)
        for server in servers:
            server.fill([setting.objects.get(objects.SMALL)])
        for turn in range(setting.rounds):
            for server in servers:
                what = f"round {turn + 1}: {server.name}"
                found = setting.attempt(f"{what} beside misses", partial(_beside_miss, server, setting, turn))
                if isinstance(server, Millpond):
                    index = partial(beside_index, server, origin, setting, fresh)
                    found += setting.attempt(f"{what} beside rewrites", index)
                    packument = partial(_beside_packument, server, origin, setting, fresh)
                    found += setting.attempt(f"{what} beside packuments", packument)
                    debian = partial(_beside_debian, server, origin, setting, fresh)
                    found += setting.attempt(f"{what} beside Debian indexes", debian)
                    rpm = partial(_beside_rpm, server, origin, setting, fresh)
                    found += setting.attempt(f"{what} beside primary.xml", rpm)
                told = "; ".join(f"{one.metric} {one.value:,.2f} {one.unit}".strip() for one in found)
                machine.say(f"{what}: {told}")
                yield from found


def _beside_miss(server: Cache, setting: Setting, turn: int) -> list[Sample]:
    """Ask for a hit at a steady pace, first with nothing beside it, then while large objects are missed."""
    alone = _probe(server, setting)
    names = (f"{server.mount}as/{objects.BIG}/{turn}-{number}" for number in range(10_000))
    order = Order(server.port, list(names), 1, seconds=setting.seconds)
    try:
        with LagWatch(server, GROUP, MISS) as lag, Driver(order, machine.load_cores()) as busy:
            beside = _probe(server, setting)
            busy.answers()
    finally:
        server.empty()
        server.fill([setting.objects.get(objects.SMALL)])
    return [
        Sample(GROUP, MISS, server.name, P99, "ms", driving.p99_ms(beside), more_is_better=False),
        Sample(GROUP, ALONE, server.name, P99, "ms", driving.p99_ms(alone), more_is_better=False),
        *lag.samples,
    ]


def _probe(server: Cache, setting: Setting) -> Sequence[Answer]:
    hits = [server.mount + objects.SMALL] * 1_000_000
    order = Order(server.port, hits, PROBES, gap_s=GAP_S, seconds=setting.seconds, urgent=True)
    return driving.fetch(order, machine.load_cores())


def beside_index(server: Millpond, origin: Origin, setting: Setting, fresh: Iterator[int]) -> list[Sample]:
    """Load a alone, and while pages are fetched and rewritten that nobody asked for before."""
    projects = [f"bench{next(fresh)}" for _ in range(round(PAGES_PER_S * setting.seconds) + 1)]
    for project in projects:
        indexes.write(setting.objects.folder, project)
    targets = [f"/pypi/simple/{project}/" for project in projects]
    order = Order(server.port, targets, 1, seconds=setting.seconds, accept=ACCEPT)
    return _beside(server, origin, setting, order, INDEX)


def _beside_packument(server: Millpond, origin: Origin, setting: Setting, fresh: Iterator[int]) -> list[Sample]:
    """Do the same with packuments, of which one takes longer than a round may; and see what the pond holds then."""
    packuments.write(setting.objects.folder)
    targets = [f"/npm/bench{next(fresh)}" for _ in range(round(PAGES_PER_S * setting.seconds) + 1)]
    order = Order(server.port, targets, 1, seconds=setting.seconds, accept=NPM_ACCEPT)
    with _MemoryWatch(server) as memory:
        found = _beside(server, origin, setting, order, PACKUMENT)
    return [*found, Sample(GROUP, PACKUMENT, server.name, GROWTH, "MiB", memory.growth, more_is_better=False)]


def _beside_debian(server: Millpond, origin: Origin, setting: Setting, fresh: Iterator[int]) -> list[Sample]:
    """Do the same with indexes of Debian archives: each is fetched, and then read for a package that is asked for."""
    debianindex.write(setting.objects.folder)
    targets: list[str] = []
    for number in itertools.islice(fresh, round(PAGES_PER_S * setting.seconds) + 1):
        index = f"/debian/dists/bench{number}/main/binary-amd64/Packages"
        targets += [index, f"/debian/pool/main/b/bench/bench_{number}_amd64.deb"]
    return _beside_readings(server, origin, setting, targets, DEBIAN)


def _beside_rpm(server: Millpond, origin: Origin, setting: Setting, fresh: Iterator[int]) -> list[Sample]:
    """Do the same with the indexes of RPM repositories."""
    rpmindex.write(setting.objects.folder)
    targets: list[str] = []
    for number in itertools.islice(fresh, round(PAGES_PER_S * setting.seconds) + 1):
        root = f"/rpm/bench{number}"
        targets += [f"{root}/repodata/{rpmindex.FILE}", f"{root}/Packages/n/none-{number}-1.x86_64.rpm"]
    return _beside_readings(server, origin, setting, targets, RPM)


def _beside_readings(server: Millpond, origin: Origin, setting: Setting, targets: list[str], case: str) -> list[Sample]:
    order = Order(server.port, targets, 1, seconds=setting.seconds)
    with _MemoryWatch(server) as memory:
        found = _beside(server, origin, setting, order, case)
    return [*found, Sample(GROUP, case, server.name, GROWTH, "MiB", memory.growth, more_is_better=False)]


def _beside(server: Millpond, origin: Origin, setting: Setting, order: Order, case: str) -> list[Sample]:
    alone = _hits(server, setting)
    before = origin.fetches()
    with LagWatch(server, GROUP, case) as lag, Driver(order, machine.load_cores()) as busy:
        beside = _hits(server, setting)
        busy.answers()
    done = origin.fetches() - before

    def sample(metric: str, unit: str, value: float, *, more_is_better: bool = True) -> Sample:
        return Sample(GROUP, case, server.name, metric, unit, value, more_is_better)

    return [
        sample(RATE, "requests/s", beside.rate),
        sample(SHARE, "", beside.rate / alone.rate),
        sample(P99, "ms", beside.p99_s * 1000, more_is_better=False),
        sample(DONE, "", done),
        *lag.samples,
    ]


class _MemoryWatch:
    """Looks what a pond holds, with all its processes, while a load goes on; `growth` in MiB over the beginning."""

    def __init__(self, server: Millpond) -> None:
        self._server, self._ended = server, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._idle = self._most = 0.0

    def __enter__(self) -> Self:
        self._idle = machine.memory(self._server.pids())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth(self) -> float:
        return self._most - self._idle

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._most = max(self._most, machine.memory(self._server.pids()))


def _hits(server: Millpond, setting: Setting) -> wrk.Summary:
    asked = [wrk.Asked(server.mount + objects.SMALL)]
    return wrk.run(server.base, asked, connections=32, seconds=setting.seconds, cores=machine.load_cores())


BESIDE = Group(GROUP, "hits beside a busy miss and beside cold index rewrites", run)
