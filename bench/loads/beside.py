"""Hits beside other work: how long they take beside a busy miss, and how many are left beside cold index rewrites.

Beside a miss, a few paced clients ask for a small hit; their process is scheduled before everything else on its core,
so that what they wait for is the server. Beside index rewrites, load a goes on at full speed. The server, and what it
computes in processes of its own, has one core for all of it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

from bench import indexes, machine, objects, wrk
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
P99, RATE, SHARE, DONE = "hit p99", "hits", "hits beside / alone", "rewrites done"
KINDS: tuple[type[Cache], ...] = (NginxCache, Millpond)
PROBES, GAP_S = 4, 0.008
PAGES_PER_S = 4
"""More than can be rewritten, so that the work beside does not end before the hits."""
ACCEPT = "application/vnd.pypi.simple.v1+json"


def run(setting: Setting) -> Iterator[Sample]:
    """Measure both."""
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
    alone = _hits(server, setting)
    targets = [f"/pypi/simple/{project}/" for project in projects]
    order = Order(server.port, targets, 1, seconds=setting.seconds, accept=ACCEPT)
    before = origin.fetches()
    with LagWatch(server, GROUP, INDEX) as lag, Driver(order, machine.load_cores()) as busy:
        beside = _hits(server, setting)
        busy.answers()
    done = origin.fetches() - before

    def sample(metric: str, unit: str, value: float, *, more_is_better: bool = True) -> Sample:
        return Sample(GROUP, INDEX, server.name, metric, unit, value, more_is_better)

    return [
        sample(RATE, "requests/s", beside.rate),
        sample(SHARE, "", beside.rate / alone.rate),
        sample(P99, "ms", beside.p99_s * 1000, more_is_better=False),
        sample(DONE, "", done),
        *lag.samples,
    ]


def _hits(server: Millpond, setting: Setting) -> wrk.Summary:
    asked = [wrk.Asked(server.mount + objects.SMALL)]
    return wrk.run(server.base, asked, connections=32, seconds=setting.seconds, cores=machine.load_cores())


BESIDE = Group(GROUP, "hits beside a busy miss and beside cold index rewrites", run)
