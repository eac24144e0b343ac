"""``millpond task ...``: tasks, their jobs, events and logs; and what people order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from millpond.app.queue import queue
from millpond.app.runlogs import Piece, read_log
from millpond.app.telling import job_told, task_row, task_told
from millpond.delivery.budget import used_for
from millpond.delivery.deciding.actions import Action, Wait
from millpond.delivery.model import Issue, Job, Project, Task
from millpond.delivery.naming import parse_key
from millpond.delivery.ports import ForgeFailed, TrackerFailed
from millpond.delivery.rates import Use
from millpond.errors import NotFound

if TYPE_CHECKING:
    from millpond.app.application import App
    from millpond.app.operations import Operation, Progress

WHY_S = 5.0
"""How long is waited for tracker and forge when somebody asks why."""
FIND_S = 20.0
"""How long a board is listed to find an issue that has no task."""


class TaskOperations:
    """The operations on the tasks of one open application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        names = (
            "task_ls", "task_show", "task_log", "task_events", "task_cancel", "task_retry", "task_release",
            "task_verdict", "queue",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    async def task_ls(
        self, progress: Progress, project: str | None = None, all_: bool = False, limit: int = 100
    ) -> list[dict[str, Any]]:
        """List tasks, the newest first; `all_`: those too that have ended. Raises `NotFound`."""
        del progress
        if project is not None:
            self._app.delivering.project(project)
        tasks = await self._app.delivering.showing.tasks(project=project, ended=all_, limit=limit)
        return [task_row(task) for task in tasks]

    async def task_show(self, progress: Progress, task: str) -> dict[str, Any]:
        """Show a task with its jobs, gates and what it waits for. Raises `NotFound`."""
        del progress
        found, of = await self._task(task), self._app.delivering
        return {
            **task_told(found),
            "spent_usd": await of.showing.spent(found.id),
            "gates": await of.showing.gates(found),
            "jobs": [job_told(job) for job in await of.ledger.jobs.of(found.id)],
            "waits": await self._waits(found),
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

    async def task_release(
        self, progress: Progress, task: str, by: str = "", task_usd: float | None = None
    ) -> dict[str, Any]:
        """Let a parked task go on, perhaps with another budget. Raises `NotFound`, `Conflict`, `BadRequest`."""
        del progress
        found = await self._task(task)
        ledger = self._app.delivering.ledger
        return task_told(await ledger.release(found.id, by or "a command", task_usd=task_usd))

    async def task_verdict(self, progress: Progress, task: str, approved: bool, by: str = "") -> dict[str, Any]:
        """Give a person's verdict at a gate. Raises `NotFound`, `Conflict`."""
        del progress
        found = await self._task(task)
        return task_told(await self._app.delivering.ledger.say(found.id, by or "a command", approved=approved))

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

    async def _waits(self, task: Task) -> str:
        project = self._app.delivering.projects.get(task.project)
        if project is None:
            return "its project is not configured any more"
        return await why_issue(self._app, project, task.issue, Use.READ)


async def find_task(app: App, name: str) -> Task:
    """Find a task by its key or its number. Raises `NotFound`."""
    ledger = app.delivering.ledger
    number = int(name[:18]) if name.isascii() and name.isdigit() else None
    found = await (ledger.task(number) if number is not None else ledger.by_key(name))
    if found is None and number is None:
        found = await ledger.by_key(name.upper())
    if found is None:
        raise NotFound(f"there is no task {name[:80]!r}: `millpond task ls --all` lists them")
    return found


async def explain_issue(app: App, key: str) -> dict[str, Any] | None:
    """Say why an issue is where it is; None: no project has this prefix. Raises `NotFound`."""
    parsed = parse_key(key)
    projects = app.delivering.projects.values()
    project = next((one for one in projects if parsed and one.prefix.casefold() == parsed[0].casefold()), None)
    if project is None or parsed is None:
        return None
    task = await app.delivering.ledger.by_key(f"{project.prefix}-{parsed[1]}")
    issue_id = task.issue if task is not None else await _issue_id(app, project, parsed[1])
    facts: dict[str, Any] = {"project": project.name, "issue": issue_id}
    if task is not None:
        facts |= {"task": task.id, "stage": task.stage, "phase": str(task.phase), "branch": task.branch}
        facts |= {"commit": task.sha or "none yet", "attempts": task.attempts, "since": task.since}
        facts |= {
            f"gate {one['gate']}": f"{one['word']}: {one['reason']}" for one in await app.delivering.showing.gates(task)
        }
    return {"verdict": await why_issue(app, project, issue_id), "facts": facts}


async def why_issue(app: App, project: Project, issue: str, use: Use = Use.URGENT) -> str:
    """Say in words what an issue waits for, or what would be done about it now. `use`: what asking for it is worth."""
    try:
        async with asyncio.timeout(WHY_S):
            with used_for(use):
                actions = await app.delivering.engine.why(project, issue)
    except (TrackerFailed, ForgeFailed) as error:
        return f"it can't be looked at: {error}"
    except TimeoutError:
        return f"it can't be looked at: tracker and forge did not answer within {WHY_S:g} s"
    return told(actions)


def told(actions: tuple[Action, ...]) -> str:
    """Write in words what is decided."""
    if isinstance(actions[0], Wait):
        return actions[0].reason
    return "to be done now: " + "; ".join(_words(action) for action in actions)


def _words(action: Action) -> str:
    named = {"stage", "reason", "state", "step", "text"}
    values: Mapping[str, Any] = {name: value for name, value in asdict(action).items() if name in named and value}
    details = ", ".join(f"{name} {str(value)[:120]}" for name, value in values.items())
    name = "".join(f" {char.lower()}" if char.isupper() else char for char in type(action).__name__).strip()
    return f"{name} ({details})" if details else name


async def _issue_id(app: App, project: Project, number: int) -> str:
    """Find an issue that has no task by its number. Raises `NotFound`."""
    of = app.delivering
    columns = frozenset((await of.states.board(project)).groups)
    try:
        async with asyncio.timeout(FIND_S):
            listing = await of.tracker.changed(project, columns, 0.0)
    except TimeoutError as error:
        text = f"{project.prefix}-{number} has no task, and the board took more than {FIND_S:g} s to be listed"
        raise NotFound(f"{text}: ask again in a minute") from error
    except TrackerFailed as error:
        raise NotFound(f"{project.prefix}-{number} has no task, and the board can't be asked: {error}") from error
    found: list[Issue] = [one for one in listing.issues if one.number == number]
    if not found:
        raise NotFound(f"the board of {project.name} has no issue {number}")
    return found[0].id
