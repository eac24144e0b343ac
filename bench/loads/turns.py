"""Every turn of the pond's event loop under the loads, as the kernel saw it: the longest, and how many were too long.

A turn is the time from one wait for events to the next: nobody else is served meanwhile. `perf` notes when each wait
ends and when the next begins. That is wall-clock time: a turn in which the machine gave the core to somebody else
counts in full. Each load is run once in a round, on one core; the rates that perf's own work costs are not kept.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import machine, objects
from bench.loads import beside, hits, misses
from bench.loads.base import Group, Setting
from bench.model import Sample
from bench.servers.millpond import Millpond
from bench.servers.nginx import Origin

GROUP = "turns"
LONGEST, LONG, COUNT = "longest turn", "turns over 20 ms", "turns"
LIMIT_S = 0.02
_WAITS = ("epoll_wait", "epoll_pwait")
_BEGIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Turns:
    """How many turns there were, how many of them took over `LIMIT_S`, and the longest, in seconds."""

    count: int
    long: int
    longest_s: float


def read(lines: Iterable[str]) -> Turns:
    """Read what ``perf script -F time,event`` prints of one thread: ``123.456789: syscalls:sys_exit_epoll_wait:``."""
    count = long = 0
    longest_s, began_s = 0.0, None
    for line in lines:
        stamp, _, event = line.strip().partition(": ")
        at_s = float(stamp)
        if "sys_exit_" in event:
            began_s = at_s
        elif began_s is not None:
            took_s, began_s = at_s - began_s, None
            count, long, longest_s = count + 1, long + (took_s > LIMIT_S), max(longest_s, took_s)
    return Turns(count, long, longest_s)


class Recording:
    """perf beside one thread: a context manager; `turns` is there afterwards. Raises `RuntimeError` where it fails."""

    def __init__(self, thread: int, file: Path) -> None:
        self._file = file
        events = [f"syscalls:sys_{edge}_{wait}" for wait in _WAITS for edge in ("enter", "exit")]
        self._argv = ["perf", "record", "-q", "-e", ",".join(events), "-t", str(thread), "-o", str(file)]
        self.turns = Turns(0, 0, 0.0)

    def __enter__(self) -> Self:
        with machine.on_cores(machine.load_cores()):
            self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it has begun, or it would have ended
            _, told = self._process.communicate(timeout=_BEGIN_S)
            raise RuntimeError(f"perf can't record: {told.strip()[-300:]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=60)
        if kind is None:
            argv = ["perf", "script", "-i", str(self._file), "-F", "time,event"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
                assert script.stdout is not None
                self.turns = read(script.stdout)
        self._file.unlink(missing_ok=True)


def run(setting: Setting) -> Iterator[Sample]:
    """Run every load once in each round, recorded."""
    if not setting.wants(Millpond.name):
        return
    if machine.find("perf") is None:
        machine.say("turns are left out: perf is not installed (Debian: linux-perf)")
        return
    fresh = itertools.count(1_000_000)  # other pages than those that `beside` asks for
    with setting.origin() as origin, Millpond(setting.site("millpond-turns", origin.base)) as pond:
        for turn in range(setting.rounds):
            for case, load in _loads(pond, origin, setting, fresh):
                what = f"round {turn + 1}: turns: {case}"
                yield from setting.attempt(what, partial(_record, pond, setting, case, load))


def _loads(
    pond: Millpond, origin: Origin, setting: Setting, fresh: Iterator[int]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give the loads by name, each ready to run when its turn comes."""
    for hit in hits.LOADS:
        for _, headers in hits.ready(hit, [pond], setting):
            yield f"hits: {hit.name}", partial(hits.drive, hit, pond, headers, setting)
    for miss in misses.LOADS:
        for name in miss.names:
            setting.objects.get(name)
        yield f"{miss.group}: {miss.name}", partial(misses.measure, miss, miss.name, pond, origin)
    pond.fill([setting.objects.get(objects.SMALL)])
    yield f"beside: {beside.INDEX}", partial(beside.beside_index, pond, origin, setting, fresh)


def _record(pond: Millpond, setting: Setting, case: str, load: Callable[[], object]) -> list[Sample]:
    """Run one load beside perf. Raises `RuntimeError` where no turn was seen."""
    with Recording(pond.pond.pid, setting.folder / "turns.perf") as recording:
        load()
    turns = recording.turns
    if not turns.count:
        raise RuntimeError("perf saw no turn of the event loop")
    machine.say(f"turns: {case}: {turns.count:,}, longest {turns.longest_s * 1000:.1f} ms, {turns.long} over 20 ms")

    def sample(metric: str, unit: str, value: float) -> Sample:
        return Sample(GROUP, case, pond.name, metric, unit, value, more_is_better=False)

    return [
        sample(LONGEST, "ms", turns.longest_s * 1000),
        sample(LONG, "", turns.long),
        sample(COUNT, "", turns.count),
    ]


TURNS = Group(GROUP, "every turn of the event loop under the loads: the longest, and those over 20 ms", run)
