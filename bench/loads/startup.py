"""Start-up: from the start of the process to the first artifact served, with a store that is there already."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from functools import partial

from bench import machine, objects
from bench.loads.base import Group, Setting, available
from bench.model import Sample
from bench.objects import Object
from bench.servers.asking import OK, get
from bench.servers.millpond import Millpond, MillpondTwo

GROUP = "startup"
FIRST, AGAIN, METRIC = "empty data directory", "stored objects", "first request served"
KINDS: tuple[type[Millpond], ...] = (Millpond, MillpondTwo)
LIMIT_S, STEP_S = 60.0, 0.005


def run(setting: Setting) -> Iterator[Sample]:
    """Start each with an empty data directory, and again with what that left."""
    small = setting.objects.get(objects.SMALL)
    with setting.origin() as origin:
        for turn in range(setting.rounds):
            for kind in available(KINDS, setting):
                cores = machine.SERVER_CORES if kind.workers == 1 else machine.BOTH_CORES
                server = kind(setting.site(f"{kind.name}-start-{turn}", origin.base, cores))
                for case in (FIRST, AGAIN):
                    what = f"round {turn + 1}: {case}: {kind.name}"
                    found = setting.attempt(what, partial(_measure, server, case, small))
                    for one in found:
                        machine.say(f"{what} {one.value:.2f} s")
                    yield from found


def _measure(server: Millpond, case: str, small: Object) -> list[Sample]:
    took = _start(server, server.base + server.target(small))
    return [Sample(GROUP, case, server.name, METRIC, "s", took, more_is_better=False)]


def _start(server: Millpond, url: str) -> float:
    """Start a pond, ask until it answers with the object, stop it; gives the seconds. Raises `RuntimeError`."""
    began = time.monotonic()
    with machine.on_cores(server.site.cores):
        process = server.pond.launch()
    try:
        while time.monotonic() - began < LIMIT_S and process.poll() is None:
            try:
                if get(url).status == OK:
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException):
                time.sleep(STEP_S)
        raise RuntimeError(f"the pond served nothing for {LIMIT_S:.0f} s: {server.pond.log.read_text()[-2000:]}")
    finally:
        server.halt()


STARTUP = Group(GROUP, "start to first request served, one worker and two", run)
