"""The delivery's blocks of ``/queue``. Each keeps its keys when its part is switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from millpond.app.telling import task_row
from millpond.delivery.model import JobState, Phase

if TYPE_CHECKING:
    from millpond.app.delivering import Delivering

Told = Mapping[str, object]
RECENT = 20


class Blocks:
    """The blocks of one delivery."""

    def __init__(self, delivering: Delivering) -> None:
        self._of, self._options = delivering, delivering.options

    async def counts(self) -> Told:
        """Count jobs by state, tasks by phase, and what waits."""
        return {
            **await self._of.ledger.counts(),
            "tasks": await self._of.showing.phases(),
            **await self._of.showing.backlog(),
        }

    async def resilience(self) -> Told:
        """Tell how the circuit of the jobs stands."""
        return {**await self._of.breaker.status(), "enabled": self._of.on and self._options.resilience}

    async def reconcile(self) -> Told:
        """Tell of the polls, and of the tracker's rate budget: that of the process which asks it."""
        told = await self._of.parts.status("reconcile")
        if self._of.parts.running:  # else what the process that polls wrote down is newer than what this one has read
            told |= self._of.asking()
        return {
            **told,
            "interval_s": self._options.poll_interval_s,
            "grace_s": self._options.reconcile_grace_s,
            "sweep_interval_s": self._options.sweep_interval_s,
            "projects": sorted(self._of.projects),
        }

    async def reaper(self) -> Told:
        """Tell of jobs whose worker died."""
        return {**await self._of.parts.status("reaper"), "lost": await self._of.showing.reaped()}

    async def post_deploy(self) -> Told:
        """Tell what is watched after its deploy."""
        watched = await self._of.showing.active(("monitor",))
        return {"enabled": self._on("post_deploy"), "watching": watched, "last_error": None}

    async def merge_verify(self) -> Told:
        """Tell what is being merged."""
        merging = await self._of.showing.active(("merge",))
        return {"enabled": self._on("merge_verify"), "merging": merging, "last_error": None}

    async def task_deps(self) -> Told:
        """Tell which tasks wait for others."""
        tasks = await self._of.showing.tasks(ended=False, limit=1000)
        waiting = [task for task in tasks if task.options.after and task.phase is Phase.READY and task.visit == 1]
        return {
            "enabled": self._on("task_deps"),
            "waiting": {task.key: list(task.options.after) for task in waiting},
            "last_error": None,
        }

    async def serial_gate(self) -> Told:
        """Tell which repos are busy, and which jobs wait for them. The database enforces it: it has no switch."""
        active = await self._of.ledger.jobs.active()
        running = {job.repo: job.id for job in active if job.state is JobState.RUNNING}
        held = [job.id for job in active if job.state is JobState.QUEUED and job.repo in running]
        return {"enabled": True, "running": running, "waiting": held, "last_error": None}

    async def auto_labels(self) -> Told:
        """Tell which open tasks have options that labels set."""
        tasks = await self._of.showing.tasks(ended=False, limit=1000)
        labelled = [task.key for task in tasks if task.options.skip or task.options.priority or task.options.settings]
        return {"enabled": self._on("auto_labels"), "tasks": labelled, "last_error": None}

    async def worker(self) -> Told:
        """Tell of who runs jobs."""
        return {**await self._of.parts.status("worker"), "max_concurrency": self._options.max_concurrency}

    async def outbox(self) -> Told:
        """Tell what is being written to the board."""
        return {**await self._of.parts.status("outbox"), **_only(await self._of.showing.backlog(), "outbox")}

    async def looks(self) -> Told:
        """Tell of the looks at issues."""
        return {**await self._of.parts.status("looks"), **_only(await self._of.showing.backlog(), "nudges")}

    async def upkeep(self) -> Told:
        """Tell what was forgotten."""
        return {**await self._of.parts.status("upkeep"), "keep_days": self._options.keep_days}

    async def metrics(self) -> Told:
        """Tell of the counting for the metrics."""
        return await self._of.parts.status("metrics")

    async def recent(self) -> list[dict[str, Any]]:
        """List the tasks that changed last."""
        return [task_row(task) for task in await self._of.showing.recent(RECENT)]

    def _on(self, switch: str) -> bool:
        return self._of.on and bool(getattr(self._options, switch))


def _only(counted: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(f"{prefix}_").replace(prefix, "waiting"): n for name, n in counted.items() if prefix in name
    }
