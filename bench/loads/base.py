"""What the loads have in common: how long, how often, on which servers, and where samples go."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench import machine, wrk
from bench.model import Sample
from bench.objects import Objects
from bench.servers.base import Server, Site
from bench.servers.nginx import Origin

S = TypeVar("S", bound=Server)


@dataclass(frozen=True, slots=True)
class Setting:
    """One run of the benchmark."""

    folder: Path
    objects: Objects
    peers: Path
    rounds: int
    seconds: float
    servers: frozenset[str] | None
    """Names of the servers to measure; None: all."""
    failed: list[str] = field(default_factory=list)
    """What was tried and counts for nothing, and why."""

    def attempt(self, what: str, measure: Callable[[], list[Sample]]) -> list[Sample]:
        """Measure once; what fails is noted and gives no samples, and the rest goes on."""
        try:
            return measure()
        except (wrk.Failed, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            self.failed.append(f"{what}: {error}"[:500])
            machine.say(f"{what} counts for nothing: {error}")
            return []

    def wants(self, name: str) -> bool:
        """Whether a server is to be measured."""
        return self.servers is None or name in self.servers

    @contextlib.contextmanager
    def origin(self) -> Iterator[Origin]:
        """Start the upstream, on the load's core."""
        site = Site(self.folder / "origin", self.objects, "", machine.load_cores(), self.peers)
        with Origin(site) as origin:
            yield origin

    def site(self, name: str, upstream: str, cores: frozenset[int] = machine.SERVER_CORES) -> Site:
        """Give a server its place."""
        return Site(self.folder / name.replace(" ", "-"), self.objects, upstream, cores, self.peers)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of loads: `name` is what ``--only`` takes."""

    name: str
    text: str
    run: Callable[[Setting], Iterator[Sample]]
    """Gives samples as they come, so that what was measured before a fault is kept."""


def available(kinds: Sequence[type[S]], setting: Setting) -> list[type[S]]:
    """Choose the servers that are wanted and installed; says which are not."""
    found = []
    for kind in kinds:
        if not setting.wants(kind.name):
            continue
        reason = kind.unavailable(setting.peers)
        if reason:
            machine.say(f"{kind.name} is left out: {reason}")
        else:
            found.append(kind)
    return found
