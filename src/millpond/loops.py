"""Background loops: what repeats, never raises out of itself, and starts and stops with the daemon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

Tick = Callable[[], Awaitable[object]]
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Loops:
    """The loops of one process. A tick that fails is logged, and the next one comes all the same.

    What fails again and again in the same way (a disk is full, say) is told when it begins and when it is over.
    """

    jitter: Callable[[], float] = random.random
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def every(self, interval_s: float, tick: Tick, name: str, *, at_once: bool = False) -> None:
        """Run `tick` each `interval_s` seconds (up to a tenth earlier, so that workers do not move in step)."""
        self._tasks.append(asyncio.create_task(self._run(interval_s, tick, name, at_once=at_once), name=f"loop {name}"))

    async def _run(self, interval_s: float, tick: Tick, name: str, *, at_once: bool) -> None:
        if not at_once:
            await asyncio.sleep(interval_s * (1 - 0.1 * self.jitter()))
        told = ""
        while True:
            try:
                await tick()
            except Exception as error:
                if repr(error) != told:
                    log.exception("a background loop failed; it goes on", loop=name, error=str(error))
                told = repr(error)
            else:
                if told:
                    log.info("a background loop works again", loop=name)
                told = ""
            await asyncio.sleep(interval_s * (1 - 0.1 * self.jitter()))

    async def close(self) -> None:
        """Stop all of them; a tick under way is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
