"""``millpond task ...``: tasks, their jobs, events and logs; and what people order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from millpond.app.application import App
from millpond.app.issues import Why, find_task, unseen_push, why_issue
from millpond.app.operating import Operation, Progress
from millpond.app.queue import queue
from millpond.app.runlogs import Piece, read_log
from millpond.app.telling import job_told, task_row, task_told
from millpond.delivery.deciding import labels
from millpond.delivery.deciding.summary import summary
from millpond.delivery.model import Job, Phase, Task
from millpond.delivery.rates import Use
from millpond.errors import NotFound


class TaskOperations:
    """The operations on the tasks of one open application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        names = (
            "task_ls", "task_show", "task_log", "task_events", "task_cancel", "task_retry", "task_release",
            "task_park", "task_verdict", "queue",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    async def task_ls(
        self, progress: Progress, project: str | None = None, all_: bool = False, limit: int = 100
    ) -> list[dict[str, Any]]:
        """List tasks and what each waits for, newest first; `all_`: those too that have ended. Raises `NotFound`."""
        del progress
        if project is not None:
            self._app.delivering.project(project)
        shows = self._app.delivering.showing
        tasks = await shows.tasks(project=project, ended=all_, limit=limit)
        holding = await shows.holding(tasks)
        return [{**task_row(task), "waits": summary(task, holding[task.id])} for task in tasks]

    async def task_show(self, progress: Progress, task: str) -> dict[str, Any]:
        """Show a task with its jobs, gates and what it waits for. Raises `NotFound`."""
        del progress
        found, of = await self._task(task), self._app.delivering
        why, costs = await self._why(found), await of.showing.costs(found.id)
        return {
            **task_told(found),
            "spent_usd": await of.showing.spent(found.id),
            "gates": await of.showing.gates(found),
            "jobs": [job_told(job, costs.get(job.id, 0.0)) for job in await of.ledger.jobs.of(found.id)],
            "sets": labels.sets(found.options),
            "waits": why.verdict,
            "next": why.next,
        }

    async def task_events(
        self, progress: Progress, task: str, after: int = 0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """List what happened to a task, the oldest first, behind the event `after`. Raises `NotFound`."""
        del progress
        found = await self._task(task)
        events = await self._app.delivering.showing.events(found.id, after=after, limit=limit)
        return [asdict(one) for one in events]

    async def task_log(self, progress: Progress, task: str, job: int | None = None, offset: int = 0) -> dict[str, Any]:
        """Read a piece of the log of a task's job (the last one that has a log), from a byte on.

        Gives job, text, next (where to read on) and ended (nothing more will come). Raises `NotFound`.
        """
        del progress
        found = await self._task(task)
        jobs = await self._app.delivering.ledger.jobs.of(found.id)
        wanted = [one for one in jobs if job is None or one.id == job]
        if job is not None and not wanted:
            raise NotFound(f"{found.key} has no job {job}: `millpond task show {found.key}` lists them")
        read = await self._read(wanted, offset)
        if read is None:
            return {"job": None, "text": "", "next": offset, "ended": not found.open, "open": found.open}
        of, piece = read
        ended = not of.active and not piece.more
        return {"job": of.id, "text": piece.text, "next": piece.next, "ended": ended, "open": found.open}

    async def task_cancel(self, progress: Progress, task: str, by: str = "") -> dict[str, Any]:
        """Take a task back. Raises `NotFound`, `Conflict`."""
        del progress
        found = await self._task(task)
        return task_told(await self._app.delivering.ledger.cancel(found.id, by or "a command"))

    async def task_retry(self, progress: Progress, task: str, by: str = "") -> dict[str, Any]:
        """Make the next attempt now. Raises `NotFound`, `Conflict`."""
        del progress
        found = await self._task(task)
        return task_told(await self._app.delivering.ledger.hurry(found.id, by or "a command"))

    async def task_park(self, progress: Progress, task: str, reason: str = "", by: str = "") -> dict[str, Any]:
        """Hold a task that has no job, until it is released. Raises `NotFound`, `Conflict`, `BadRequest`."""
        del progress
        found = await self._task(task)
        return task_told(await self._app.delivering.ledger.park(found.id, by or "a command", reason or "held"))

    async def task_release(
        self, progress: Progress, task: str, by: str = "", task_usd: float | None = None
    ) -> dict[str, Any]:
        """Let a parked task go on, perhaps with another budget. Raises `NotFound`, `Conflict`, `BadRequest`."""
        del progress
        found = await self._task(task)
        ledger = self._app.delivering.ledger
        return task_told(await ledger.release(found.id, by or "a command", task_usd=task_usd))

    async def task_verdict(
        self, progress: Progress, task: str, approved: bool, by: str = "", reason: str = "", commit: str = ""
    ) -> dict[str, Any]:
        """Give a person's verdict at a gate, perhaps with its reason, and on the commit that is named.

        It counts for the answer's `sha`. `newer`: what somebody pushed behind it, and nobody has looked at; the next
        look voids the verdict, and asks for another one. None: nothing, or the forge can't be asked now. Raises
        `NotFound`, `Conflict`, `BadRequest`.
        """
        del progress
        found, who = await self._task(task), by or "a command"
        gated = found.phase is Phase.GATED
        newer = (
            await unseen_push(self._app, found) if gated else None
        )  # before: whoever looks then may be quicker than we
        say, commit = self._app.delivering.ledger.say, commit or (found.sha if gated else "")
        said = await say(found.id, who, approved=approved, reason=reason.strip(), commit=commit)
        return {**task_told(said), "newer": newer.sha if newer is not None and newer.sha != said.sha else None}

    async def queue(self, progress: Progress) -> dict[str, Any]:
        """Tell what every background part does."""
        del progress
        return await queue(self._app)

    async def _task(self, name: str) -> Task:
        return await find_task(self._app, name)

    async def _read(self, jobs: list[Job], offset: int) -> tuple[Job, Piece] | None:
        for job in reversed(jobs):
            piece = await read_log(self._app, job, offset)
            if piece is not None:
                return job, piece
        return None

    async def _why(self, task: Task) -> Why:
        project = self._app.delivering.projects.get(task.project)
        if project is None:
            return Why("its project is not configured any more", "write [projects.NAME] with its prefix again")
        return await why_issue(self._app, project, task.issue, (task.key, task), Use.READ)
