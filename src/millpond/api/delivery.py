"""The delivery's part of the control API: tasks, the embedded board, drift. Reading for readers, changes for admins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from millpond.api.auth import Caller
from millpond.app.application import App

FOLLOW_S = 0.3
FOLLOW_LIMIT_S = 3600.0
DRIFT_S, DRIFT_FRESH_S = 60.0, 30.0
"""How long a comparison may take that a mere reader asked for, and how old it may be."""
MOST = 2**63 - 1
"""The largest number that a database can be asked about."""
Number = Annotated[int, Path(ge=1, le=MOST)]
Check = Callable[[Request], Awaitable[Caller]]


def _by(request: Request) -> str:
    """Name who changes something, as the check before it found."""
    return str(request.state.caller)


By = Annotated[str, Depends(_by)]


class NewIssue(BaseModel):
    """An issue to make."""

    title: str = Field(min_length=1, max_length=255)
    description: str = Field(default="", max_length=65_536)
    labels: list[str] = Field(default=[], max_length=50)
    column: str = Field(default="", max_length=200)


class Where(BaseModel):
    """Where an issue goes."""

    column: str = Field(min_length=1, max_length=200)


class Said(BaseModel):
    """What is said of an issue."""

    text: str = Field(min_length=1, max_length=20_000)


class Labels(BaseModel):
    """Labels that an issue gets, and that it loses."""

    add: list[str] = Field(default=[], max_length=50)
    remove: list[str] = Field(default=[], max_length=50)


class Reported(BaseModel):
    """A commit's status, by the name (`context`) of who reports it."""

    context: str = Field(min_length=1, max_length=255)
    state: str = Field(max_length=20, description="pending, success, failure, error, warning or skipped")
    description: str = Field(default="", max_length=1000)
    url: str = Field(default="", max_length=1000)


class Release(BaseModel):
    """How a parked task goes on."""

    task_usd: float | None = Field(default=None, gt=0)


class Park(BaseModel):
    """Why a task is held."""

    reason: str = Field(default="", max_length=500)


class Verdict(BaseModel):
    """What a person says at a gate, and why; `commit`: only if the task is at that one."""

    approved: bool
    reason: str = Field(default="", max_length=500)
    commit: str = Field(default="", pattern="^([0-9a-fA-F]{7,64})?$")


def add_delivery(api: FastAPI, app: App, may_read: Any, may_change: Check) -> None:
    """Add it."""

    async def check(request: Request) -> None:
        request.state.caller = (await may_change(request)).name

    changes = Depends(check)
    _tasks(api, app, may_read)
    _orders(api, app, changes)
    _board(api, app, may_read)
    _people(api, app, changes)
    _forge(api, app, changes)
    _drift(api, app, may_read, changes)


def _tasks(api: FastAPI, app: App, may_read: Any) -> None:
    @api.get("/api/v1/tasks", dependencies=[may_read])
    async def tasks(
        project: Annotated[str | None, Query(max_length=64)] = None,
        ended: bool = False,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Any:
        """List tasks, the newest first."""
        return await run(app, "task_ls", project=project, all_=ended, limit=limit)

    @api.get("/api/v1/tasks/{task}", dependencies=[may_read])
    async def task(task: str) -> Any:
        """Show a task, by its key or number, with its jobs and gates."""
        return await run(app, "task_show", task=task)

    @api.get("/api/v1/tasks/{task}/events", dependencies=[may_read])
    async def events(
        task: str, after: Annotated[int, Query(ge=0, le=MOST)] = 0, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> Any:
        """List what happened to a task, the oldest first, behind the event `after`."""
        return await run(app, "task_events", task=task, after=after, limit=limit)

    @api.get("/api/v1/tasks/{task}/log", dependencies=[may_read], response_class=StreamingResponse)
    async def log(
        task: str, job: Annotated[int | None, Query(ge=1, le=MOST)] = None, follow: bool = False
    ) -> StreamingResponse:
        """Give the log of a task's job as text; `follow`: until the job has ended."""
        first = await run(app, "task_log", task=task, job=job)
        pieces = _pieces(app, first, task, job, follow=follow)
        return StreamingResponse(pieces, media_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"})


async def _pieces(app: App, found: Any, task: str, job: int | None, *, follow: bool) -> AsyncIterator[str]:
    until = asyncio.get_running_loop().time() + FOLLOW_LIMIT_S
    while True:
        if found["text"]:
            yield found["text"]
        elif found["ended"] or not follow or asyncio.get_running_loop().time() > until:
            return
        else:
            await asyncio.sleep(FOLLOW_S)
        found = await run(app, "task_log", task=task, job=found["job"] or job, offset=found["next"])


def _orders(api: FastAPI, app: App, changes: Any) -> None:
    @api.post("/api/v1/tasks/{task}/cancel", dependencies=[changes])
    async def cancel(task: str, by: By) -> Any:
        """Take a task back: its job is stopped, then it ends."""
        return await run(app, "task_cancel", task=task, by=by)

    @api.post("/api/v1/tasks/{task}/retry", dependencies=[changes])
    async def retry(task: str, by: By) -> Any:
        """Make the next attempt of a task now."""
        return await run(app, "task_retry", task=task, by=by)

    @api.post("/api/v1/tasks/{task}/park", dependencies=[changes])
    async def park(task: str, by: By, why: Park | None = None) -> Any:
        """Hold a task that has no job, until it is released."""
        return await run(app, "task_park", task=task, by=by, reason=why.reason if why else "")

    @api.post("/api/v1/tasks/{task}/release", dependencies=[changes])
    async def release(task: str, by: By, how: Release | None = None) -> Any:
        """Let a parked task go on, perhaps with another budget."""
        return await run(app, "task_release", task=task, by=by, task_usd=how.task_usd if how else None)

    @api.post("/api/v1/tasks/{task}/verdict", dependencies=[changes])
    async def verdict(task: str, by: By, said: Verdict) -> Any:
        """Pass or fail the gate that waits for a person."""
        return await run(app, "task_verdict", task=task, by=by, **said.model_dump())


def _board(api: FastAPI, app: App, may_read: Any) -> None:
    @api.get("/api/v1/board", dependencies=[may_read])
    async def boards(limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Any:
        """List the issues of every embedded board."""
        return await run(app, "board_ls", limit=limit)

    @api.get("/api/v1/board/{project}", dependencies=[may_read])
    async def board(
        project: str,
        column: Annotated[list[str] | None, Query(max_length=50)] = None,
        below: Annotated[int | None, Query(ge=1, le=MOST)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Any:
        """List the issues of a project's embedded board, the newest first."""
        return await run(app, "board_ls", project=project, columns=column, limit=limit, below=below)

    @api.get("/api/v1/board/{project}/columns", dependencies=[may_read])
    async def columns(project: str) -> Any:
        """List a board's columns."""
        return await run(app, "board_columns", project=project)

    @api.get("/api/v1/board/{project}/{number}", dependencies=[may_read])
    async def issue(project: str, number: Number) -> Any:
        """Show an issue with its comments."""
        return await run(app, "board_show", key=_key(app, project, number))


def _people(api: FastAPI, app: App, changes: Any) -> None:
    @api.post("/api/v1/board/{project}", status_code=201, dependencies=[changes])
    async def new(project: str, issue: NewIssue, by: By) -> Any:
        """Make an issue."""
        return await run(app, "board_new", project=project, by=by, **issue.model_dump())

    @api.post("/api/v1/board/{project}/{number}/move", dependencies=[changes])
    async def move(project: str, number: Number, where: Where, by: By) -> Any:
        """Move an issue to a column, by its id or name."""
        return await run(app, "board_move", key=_key(app, project, number), column=where.column, by=by)

    @api.post("/api/v1/board/{project}/{number}/labels", dependencies=[changes])
    async def label(project: str, number: Number, labels: Labels, by: By) -> Any:
        """Add labels to an issue, and take some away; a task that has begun keeps what they set."""
        return await run(app, "board_label", key=_key(app, project, number), by=by, **labels.model_dump())

    @api.post("/api/v1/board/{project}/{number}/comments", dependencies=[changes])
    async def comment(project: str, number: Number, said: Said, by: By) -> Any:
        """Comment on an issue; a line ``/approve`` or ``/reject`` is a verdict."""
        return await run(app, "board_comment", key=_key(app, project, number), text=said.text, by=by)


def _forge(api: FastAPI, app: App, changes: Any) -> None:
    @api.post("/api/v1/projects/{project}/statuses/{sha}", status_code=201, dependencies=[changes])
    async def status(project: str, sha: Annotated[str, Path(max_length=64)], reported: Reported, by: By) -> Any:
        """Report the status of a commit in the embedded git, as a CI does to a forge; gates look at it at once."""
        return await run(app, "status_report", project=project, sha=sha, by=by, **reported.model_dump())


def _drift(api: FastAPI, app: App, may_read: Any, changes: Any) -> None:
    @api.get("/api/v1/drift", dependencies=[may_read])
    async def drift() -> Any:
        """Tell where board, engine and forge differ, as of half a minute ago at most."""
        return await run(app, "drift", within_s=DRIFT_S, fresh_s=DRIFT_FRESH_S)

    @api.post("/api/v1/drift", dependencies=[changes])
    async def mend() -> Any:
        """Have all that differs looked at now."""
        return await run(app, "drift", mend=True)

    @api.post("/api/v1/reconcile", dependencies=[changes])
    async def reconcile(*, dry_run: bool = False) -> Any:
        """Ask the board now what no webhook told."""
        return await run(app, "reconcile", dry_run=dry_run)


def _key(app: App, project: str, number: int) -> str:
    found = app.delivering.projects.get(project)
    return f"{found.prefix if found else project}-{number}"


async def run(app: App, operation: str, **arguments: Any) -> Any:
    """Run one of the application's operations."""
    return await app.operations[operation](progress=lambda *_: None, **arguments)
