"""The background parts of the delivery: each has a switch, never raises out of its loop, and tells how it is.

What a part did last is written down for the workers that do not run it, at most every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from millpond.clock import Clock
from millpond.hosts.model import Run
from millpond.hosts.runs import Runs

TASK = "delivery"
"""Under which the last runs of parts are kept, in the place of a host's task."""
BACKOFF_S = 1.0
NOTED_S = 5.0
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Part:
    """How one part is. Times are epoch seconds."""

    name: str
    enabled: bool = True
    runs: int = 0
    failures: int = 0
    last_run_ts: float | None = None
    last_error: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    """What else it tells of its last run."""

    def status(self) -> dict[str, Any]:
        """Tell it."""
        return {
            "enabled": self.enabled,
            "runs": self.runs,
            "failures": self.failures,
            "last_run_ts": self.last_run_ts,
            "last_error": self.last_error or None,
            **self.told,
        }


class Parts:
    """The parts of one process's delivery, by name."""

    def __init__(self, clock: Clock, runs: Runs) -> None:
        self._clock, self._runs = clock, runs
        self._parts: dict[str, Part] = {}
        self._noted: dict[str, float] = {}
        self.running = False
        """Whether it is this process that runs them."""

    def part(self, name: str, *, enabled: bool = True, **told: Any) -> Part:
        """Make a part, or give the one of that name. `told` are the keys that it has before its first run."""
        if name not in self._parts:
            self._parts[name] = Part(name, enabled, told=dict(told))
        return self._parts[name]

    async def run(self, name: str, work: Callable[[], Awaitable[Mapping[str, Any] | None]]) -> bool:
        """Let a part do something once; False: it failed, and that is logged and told."""
        part = self.part(name)
        part.runs, part.last_run_ts = part.runs + 1, self._clock.now()
        try:
            part.told.update(await work() or {})
        except Exception as error:
            before, part.last_error = part.last_error, f"{type(error).__name__}: {error}"
            part.failures += 1
            if part.last_error != before:
                log.exception("a part of the delivery failed; it goes on", part=name, error=str(error))
            return False
        else:
            if part.last_error:
                log.info("a part of the delivery works again", part=name)
            part.last_error = ""
            return True
        finally:
            await self._note(part)

    async def loop(self, name: str, work: Callable[[], Awaitable[Mapping[str, Any] | None]]) -> None:
        """Let a part work for ever; `work` waits by itself. What fails is tried again after a moment."""
        while True:
            if not await self.run(name, work):
                await asyncio.sleep(BACKOFF_S)

    async def status(self, name: str) -> dict[str, Any]:
        """Tell how a part is, whichever process runs it."""
        part = self._parts[name]
        if self.running or not part.enabled:
            return part.status()
        run = await self._runs.of(name, TASK)
        return {**part.status(), **run.told}

    async def _note(self, part: Part) -> None:
        """Write down what it did, now and then, and when its health has changed."""
        now = self._clock.monotonic()
        due = now - self._noted.get(part.name, float("-inf")) >= NOTED_S
        if not due:
            return
        self._noted[part.name] = now
        told = {key: value for key, value in part.status().items() if key != "enabled"}
        with contextlib.suppress(Exception):  # it is for eyes only; what is wrong with the database shows elsewhere
            await self._runs.note(part.name, TASK, Run(part.last_run_ts, part.last_error, told))
