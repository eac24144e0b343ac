"""A cold image of 3 GB in random layers, pulled as an engine does, three layers at a time: memory, and hits beside it.

What is measured is how much memory the pond takes beyond idle while the layers pass through it (each is hashed on its
way and checked against its digest), and how long a paced hit takes beside that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from bench import machine, objects
from bench.clients import driving
from bench.clients.driving import Driver
from bench.clients.fetch import Order
from bench.loads.base import Group, Setting, available
from bench.loads.lag import LagWatch
from bench.loads.memory import settled, watch
from bench.model import Sample
from bench.servers.millpond import Millpond, MillpondTwo

GROUP = "image"
PULL = "a cold image of 3 GB"
GROWTH, P99, RATE = "memory over idle", "hit p99", "rate"
LAYERS, LAYER_BYTES, AT_A_TIME = 30, 100 * objects.MIB, 3
PROBES, GAP_S = 4, 0.008
KINDS: tuple[type[Millpond], ...] = (Millpond, MillpondTwo)


def run(setting: Setting) -> Iterator[Sample]:
    """Pull it through a pond that was just started, with one worker and with two."""
    layers = list(_layers(setting.objects.folder / "v2/bench/image/blobs"))
    with setting.origin() as origin:
        for turn in range(setting.rounds):
            for kind in available(KINDS, setting):
                cores = machine.SERVER_CORES if kind.workers == 1 else machine.BOTH_CORES
                site = setting.site(f"{kind.name}-image-{turn}", origin.base, cores)
                what = f"round {turn + 1}: {kind.name}: {PULL}"
                with kind(site) as server:
                    found = setting.attempt(what, partial(_measure, server, layers, setting))
                machine.say(f"{what}: " + "; ".join(f"{one.metric} {one.value:,.1f} {one.unit}" for one in found))
                yield from found


def _layers(folder: Path) -> Iterator[str]:
    """Make the layers where there are none yet; gives their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(path.name for path in folder.iterdir() if path.stat().st_size == LAYER_BYTES)
    yield from there[:LAYERS]
    for _ in range(LAYERS - len(there)):
        partial_ = folder / "partial"
        digest = sha256()
        with partial_.open("wb") as file:
            for _ in range(LAYER_BYTES // objects.MIB):
                piece = os.urandom(objects.MIB)
                digest.update(piece)
                file.write(piece)
        name = f"sha256:{digest.hexdigest()}"
        partial_.rename(folder / name)
        yield name


def _measure(server: Millpond, layers: list[str], setting: Setting) -> list[Sample]:
    server.fill([setting.objects.get(objects.SMALL)])
    idle = settled(server)
    targets = [f"/v2/hub/bench/image/blobs/{digest}" for digest in layers]
    paced = [server.mount + objects.SMALL] * 1_000_000
    hits = Order(server.port, paced, PROBES, gap_s=GAP_S, seconds=setting.seconds, urgent=True)
    with contextlib.ExitStack() as stack:
        lag = stack.enter_context(LagWatch(server, GROUP, PULL))
        pull = stack.enter_context(Driver(Order(server.port, targets, AT_A_TIME), machine.load_cores()))
        probe = stack.enter_context(Driver(hits, machine.load_cores()))
        most = watch(server, pull, setting)
        pulled = pull.answers()
        beside = probe.answers()
    seconds = max(answer[2] for answer in pulled) - min(answer[0] for answer in pulled)

    def sample(metric: str, unit: str, value: float, *, more_is_better: bool = False) -> Sample:
        return Sample(GROUP, PULL, server.name, metric, unit, value, more_is_better)

    return [
        sample(GROWTH, "MiB", most - idle),
        sample(P99, "ms", driving.p99_ms(beside)),
        sample(RATE, "MiB/s", LAYERS * LAYER_BYTES / objects.MIB / seconds, more_is_better=True),
        *lag.samples,
    ]


IMAGE = Group(GROUP, "a cold image of 3 GB in layers: memory, and hits beside it", run)
