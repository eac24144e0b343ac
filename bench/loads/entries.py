"""One million entries: is a look-up as fast as among few, can garbage be collected beside hits, is memory bounded?

Two ponds are filled directly, one with a million entries and one with few. "First look-ups" are of entries that are
stored but were not asked yet, "hits" of a thousand that were. The collection has 100,000 blobs to remove; it and the
memory are measured once in a run, since they change what they measure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial

from bench import filling, machine, wrk
from bench.clients import driving
from bench.clients.driving import Driver
from bench.clients.fetch import Order
from bench.loads.base import Group, Setting
from bench.loads.lag import LagWatch
from bench.model import Sample
from bench.servers.asking import OK, Got, get
from bench.servers.millpond import Millpond

GROUP = "entries"
MANY, FEW, DOOMED, HOT, FIRST, MEMORY = 1_000_000, 20_000, 100_000, 1000, 2000, 25_000
CASE = "1,000,000 entries"
LOOKUPS, HITS, LOOKUP_SHARE, HIT_SHARE = "first look-ups", "hits", "first look-ups / among few", "hits / among few"
GC, GC_P99, TABLE, GROWTH = "gc of 100,000", "hit p99 beside gc", "memory of 25,000 hits", "memory of 25,000 more"
CONNECTIONS, HIT_CONNECTIONS, GAP_S = 8, 32, 0.008


def run(setting: Setting) -> Iterator[Sample]:
    """Fill, start, measure."""
    if not setting.wants(Millpond.name):
        return
    with setting.origin() as origin:
        ponds = [Millpond(setting.site(f"entries-{count}", origin.base)) for count in (FEW, MANY)]
        for pond, count, doomed in zip(ponds, (FEW, MANY), (0, DOOMED), strict=True):
            with pond:
                pass  # it makes its own schema and folders
            machine.say(f"filling a pond with {count:,} entries")
            filling.fill(pond.pond.data, "up", count, doomed)
        with ponds[0] as few, ponds[1] as many:
            for turn in range(setting.rounds):
                yield from setting.attempt(f"round {turn + 1} of look-ups", partial(_round, few, many, setting, turn))
            yield from setting.attempt(GC, partial(_collect, many))
            yield from setting.attempt(TABLE, partial(_remember, many))


def _round(few: Millpond, many: Millpond, setting: Setting, turn: int) -> list[Sample]:
    """Look up what was not asked before, and load what was, in both."""
    names = _spread(FEW, FIRST, turn * FIRST), _spread(MANY, FIRST, turn * FIRST)
    first = [_rate(pond, chosen) for pond, chosen in zip((few, many), names, strict=True)]
    for pond, chosen in zip((few, many), names, strict=True):
        _rate(pond, chosen[:HOT])
    with LagWatch(many, GROUP, HITS) as lag:
        hits = [
            wrk.run(
                pond.base, [wrk.Asked(name) for name in chosen[:HOT]], connections=HIT_CONNECTIONS,
                seconds=setting.seconds, cores=machine.load_cores(),
            ).rate
            for pond, chosen in zip((few, many), names, strict=True)
        ]  # fmt: skip
    found = [
        _sample(LOOKUPS, "objects/s", first[1]),
        _sample(LOOKUP_SHARE, "", first[1] / first[0]),
        _sample(HITS, "requests/s", hits[1]),
        _sample(HIT_SHARE, "", hits[1] / hits[0]),
    ]
    machine.say(f"round {turn + 1}: " + "; ".join(f"{one.metric} {one.value:,.2f} {one.unit}" for one in found))
    return [*found, *lag.samples]


def _spread(entries: int, count: int, after: int) -> list[str]:
    """Choose entries from all over the catalog: another `count` of `FEW` for each `after`."""
    return [f"/up/{filling.path_of((after + n) % FEW * (entries // FEW))}" for n in range(count)]


def _rate(pond: Millpond, targets: Sequence[str]) -> float:
    answers = driving.fetch(Order(pond.port, list(targets), CONNECTIONS), machine.load_cores())
    return len(answers) / driving.seconds(answers)


def _collect(pond: Millpond) -> list[Sample]:
    """Collect the garbage beside paced hits. Raises `RuntimeError` where not all of it went."""
    token = {"Authorization": f"Bearer {pond.pond.admin_token}"}
    told: list[Got] = []
    gc = threading.Thread(target=lambda: told.append(get(f"{pond.base}/api/v1/gc", token, method="POST", wait_s=600)))
    hits = _spread(MANY, 1, 0) * 1_000_000
    with LagWatch(pond, GROUP, GC) as lag:
        began = time.monotonic()
        gc.start()
        answers = []
        while gc.is_alive():
            order = Order(pond.port, hits, 4, gap_s=GAP_S, seconds=1.0, urgent=True)
            with Driver(order, machine.load_cores()) as driver:
                answers += driver.answers()
        took = time.monotonic() - began
    if not told or told[0].status != OK or b'"collected":%d' % DOOMED not in told[0].start.replace(b" ", b""):
        raise RuntimeError(f"the collection did not remove {DOOMED} blobs: {told}")
    found = [_sample(GC, "s", took, more_is_better=False)]
    found.append(_sample(GC_P99, "ms", driving.p99_ms(answers), more_is_better=False))
    machine.say("; ".join(f"{one.metric} {one.value:,.1f} {one.unit}" for one in found))
    return [*found, *lag.samples]


def _remember(pond: Millpond) -> list[Sample]:
    """Ask for more and more entries, and see what remembering them holds."""
    held = [machine.memory(pond.pids())]
    for turn in range(2):
        names = [f"/up/{filling.path_of((turn * MEMORY + n) * 20 + 7)}" for n in range(MEMORY)]
        for _ in range(2):  # an entry becomes a hit when it is served the second time at the latest
            _rate(pond, names)
        held.append(machine.memory(pond.pids()))
    found = [
        _sample(TABLE, "MiB", held[1] - held[0], more_is_better=False),
        _sample(GROWTH, "MiB", held[2] - held[1], more_is_better=False),
    ]
    machine.say("; ".join(f"{one.metric} {one.value:,.1f} {one.unit}" for one in found))
    return found


def _sample(metric: str, unit: str, value: float, *, more_is_better: bool = True) -> Sample:
    return Sample(GROUP, CASE, Millpond.name, metric, unit, value, more_is_better)


ENTRIES = Group(GROUP, "one million entries: look-ups, gc of 100,000 beside hits, memory", run)
