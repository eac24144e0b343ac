"""The disk watchdog: makes room where a disk is filling up, before that takes everything down.

One watchdog looks at one place (a host's Docker data directory, or the pond's own data). Above the high mark, of bytes
or of inodes, it climbs a ladder of rungs, cheapest first, measures after each step, and stops as soon as both are below
the low mark. Then it leaves the place alone for the cool-down. What a place's rungs may remove is the place's own
affair (`places`); volumes and what is in use are on no ladder. It never raises: what goes wrong is remembered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import structlog

from millpond.clock import Clock
from millpond.errors import MillpondError
from millpond.hosts.commands import brief
from millpond.hosts.model import DiskOptions, Filled, HostFailed, Marks, Room, Run, Rung
from millpond.hosts.ports import Notifier
from millpond.hosts.runs import Runs
from millpond.hosts.sizes import write_size

TASK = "disk_monitor"
WHO = "disk-watchdog"
MAX_STEPS = 200
CLIMBED = ("climbed_ts", "freed_bytes", "steps", "note")
"""What is told of the last climb."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was removed: by which rung, what in words, and how much by its own account (None: unknown)."""

    rung: Rung
    what: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Would:
    """What a rung would remove at most, were all of it needed."""

    rung: Rung
    bytes: int | None
    what: tuple[str, ...] = ()


class Place(Protocol):
    """Something that fills up."""

    @property
    def name(self) -> str:
        """What it is called in the status."""

    async def measure(self) -> Room:
        """Measure it. Raises `HostFailed`, `OSError`."""

    def free(self, rung: Rung) -> AsyncIterator[Step]:
        """Remove what a rung may, in steps that are worth measuring after. Raises `HostFailed`."""

    async def would(self, rung: Rung) -> Would:
        """Say what `free` would remove at most. Raises `HostFailed`."""

    def alone(self) -> AbstractAsyncContextManager[object | None]:
        """Keep builds and deploys away meanwhile; None: one of them is there."""


def over(room: Room, options: DiskOptions) -> bool:
    """Whether it is above a high mark."""
    return any(filled.percent > marks.high for filled, marks in _measured(room, options))


def below(room: Room, options: DiskOptions) -> bool:
    """Whether it is below both low marks."""
    return all(filled.percent < marks.low for filled, marks in _measured(room, options))


def _measured(room: Room, options: DiskOptions) -> list[tuple[Filled, Marks]]:
    inodes = [(room.inodes, options.inodes)] if room.inodes is not None else []
    return [(room.bytes, options.bytes), *inodes]


def cooling(options: DiskOptions, climbed_at: float | None, now: float) -> bool:
    """Whether room was made too lately to do it again; a time ahead of the clock (set back) counts as none."""
    return climbed_at is not None and climbed_at <= now < climbed_at + options.cooldown_s


def facts(room: Room) -> dict[str, object]:
    """Tell a measurement."""
    inodes = room.inodes
    return {
        "bytes_percent": round(room.bytes.percent, 1),
        "inodes_percent": round(inodes.percent, 1) if inodes else None,
        "total_bytes": room.bytes.total,
        "free_bytes": room.bytes.available,
    }


class Watchdog:
    """Watches one place, by the `ladder` that it has."""

    def __init__(
        self,
        place: Place,
        options: DiskOptions,
        ladder: Sequence[Rung],
        *,
        runs: Runs,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self._place, self._options = place, options
        self._ladder = [rung for rung in ladder if rung in options.rungs]
        self._runs, self._notifier, self._clock = runs, notifier, clock

    async def tick(self) -> None:
        """Look, and make room where it is needed. Never raises."""
        if not self._options.enabled:
            return
        try:
            await self.look()
        except Exception as error:
            log.exception("the disk watchdog failed; it goes on", place=self._place.name, error=str(error))

    async def look(self) -> Run:
        """Measure, make room where it is needed, and give what is remembered of it."""
        before = await self._runs.of(self._place.name, TASK)
        told = {key: before.told.get(key) for key in CLIMBED}
        try:
            run = await self._looked(told)
        except (MillpondError, OSError) as error:
            text = error.told if isinstance(error, HostFailed) else brief(str(error))
            run = Run(self._clock.now(), text, {**before.told, **told})
        await self._runs.note(self._place.name, TASK, run)
        if run.error and run.error != before.error:
            log.warning("a disk could not be looked after", place=self._place.name, error=run.error)
        elif before.error and not run.error:
            log.info("a disk is looked after again", place=self._place.name)
        return run

    async def _looked(self, told: dict[str, object]) -> Run:
        room = await self._place.measure()
        climbed_at = told["climbed_ts"]
        note = ""
        if over(room, self._options):
            if cooling(self._options, climbed_at if isinstance(climbed_at, float) else None, self._clock.now()):
                note = "above the mark; room was made lately"
            else:
                async with self._place.alone() as mine:
                    if mine:
                        return await self._climbed(room, told)
                note = "above the mark; a build or a deploy of ours holds the host"
        return Run(self._clock.now(), "", {**told, **facts(room), "note": note})

    async def make_room(self) -> Run:
        """Climb once, whatever the marks and the cool-down say: who asks holds the place, and has met its end.

        Raises `HostFailed`, `OSError`.
        """
        before = await self._runs.of(self._place.name, TASK)
        run = await self._climbed(await self._place.measure(), {key: before.told.get(key) for key in CLIMBED})
        await self._runs.note(self._place.name, TASK, run)
        return run

    async def _climbed(self, room: Room, told: dict[str, object]) -> Run:
        """Climb the ladder as far as it takes. A rung that fails is told, and the next one is tried."""
        steps: list[Step] = []
        errors: list[str] = []
        first = room
        for rung in self._ladder:
            try:
                async with aclosing(self._freed(rung)) as freed:
                    async for step in freed:
                        steps.append(step)
                        room = await self._place.measure()
                        if below(room, self._options):
                            break
            except (MillpondError, OSError, ValueError) as error:
                errors.append(f"{rung}: {error.told if isinstance(error, HostFailed) else brief(str(error))}")
            if below(room, self._options):
                break
        told |= {
            "climbed_ts": self._clock.now(),
            "steps": [asdict(step) for step in steps[:MAX_STEPS]],
            "freed_bytes": max(room.bytes.available - first.bytes.available, 0),
            "note": "" if below(room, self._options) else "not below the low mark, and nothing more may go",
        }
        await self._notify(first, room, steps, errors)
        return Run(self._clock.now(), "; ".join(errors), {**told, **facts(room)})

    async def _freed(self, rung: Rung) -> AsyncGenerator[Step, None]:
        async for step in self._place.free(rung):
            log.info("made room", place=self._place.name, rung=rung.value, what=step.what, bytes=step.bytes)
            yield step

    async def _notify(self, before: Room, after: Room, steps: list[Step], errors: list[str]) -> None:
        name = self._place.name
        enough = below(after, self._options)
        state = f"{before.bytes.percent:.0f} % -> {after.bytes.percent:.0f} %"
        title = f"{WHO}: {name}: {state}" + ("" if enough else ", still too full")
        removed = [f"- {step.rung}: {step.what}" for step in steps[:MAX_STEPS]] or ["- nothing could be removed"]
        inodes = f"inodes: {after.inodes.percent:.0f} % used" if after.inodes else ""
        free = f"free now: {write_size(after.bytes.available)}"
        body = "\n".join([title, *removed, *errors, *filter(None, [free, inodes])])
        await self._notifier.notify(title, body)

    async def plan(self) -> dict[str, Any]:
        """Say what would be done now, and what each rung would remove at most. Raises `HostFailed`, `OSError`."""
        room = await self._place.measure()
        rungs = [await self._place.would(rung) for rung in self._ladder]
        needed = over(room, self._options)
        return {**facts(room), "needed": needed, "rungs": [asdict(would) for would in rungs]}


def status_of(options: DiskOptions, run: Run) -> dict[str, object]:
    """Give one place's block."""
    measured = ("bytes_percent", "inodes_percent", "total_bytes", "free_bytes")
    return {
        "enabled": options.enabled,
        "interval_s": options.interval_s,
        "last_run_ts": run.ran_at,
        "last_error": run.error or None,
        **{key: run.told.get(key) for key in (*measured, *CLIMBED)},
    }
