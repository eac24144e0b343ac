"""A step that runs a program in a task's workspace: the walk that `command` and `agent` share.

    workspace made anew -> the job's own HOME and pond token -> a detached run -> its end -> what it left is committed
    and pushed by us -> token ended, HOME removed

A job whose run goes on already (the daemon was restarted) is taken up where it is: the workspace is not touched, the
run is not begun again. What was pushed, committed or ended before a crash is found to be so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import structlog

from millpond.delivery.deciding.advice import UNSTARTED
from millpond.delivery.model import Failed, Json, Outcome, Retry, Spent
from millpond.delivery.runs.runfolder import Ended, How, Run
from millpond.delivery.runs.runs import Heard, Limits, Spec
from millpond.delivery.steps.base import StepFailed, Tools, Work
from millpond.delivery.workspaces.notes import Workspace
from millpond.delivery.workspaces.workspace import BranchMoved, WorkspaceFailed

RETRY_S = 30.0
AGAIN_S = (2.0, 10.0, 30.0, 60.0)
"""How long is waited before each further push, where one failed."""
NOTHING = Spent()
MOVED_S = 1.0
TAIL = 2000
"""Bytes of a log's end that are looked at for what to say of a failure."""
OF = "of"
"""The note of whose run it is."""
log = structlog.get_logger(__name__)
LINES = 5
"""Of it that are told, or that a question stands in."""
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Order:
    """What a step wants run."""

    argv: Sequence[str]
    limits: Limits
    stdin: bytes = b""
    events: Collection[str] = ()
    finals: Collection[str] = ()
    notes: Mapping[str, Json] = field(default_factory=dict)
    passes: Collection[str] = ()
    """Names of the operator's variables that it gets."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended, in its workspace."""

    work: Work
    run: Run
    ended: Ended
    workspace: Workspace


Ordering: TypeAlias = Callable[[Workspace], Awaitable[Order]]
"""Says what to run in a workspace."""
Judging: TypeAlias = Callable[[Ran], Awaitable[Outcome]]


async def carry_out(tools: Tools, work: Work, order: Ordering, judge: Judging, heard: Heard | None = None) -> Outcome:
    """Run what `order` says, or take up the run that there is, and let `judge` say what came of it."""
    try:
        async with _owned(tools, work):
            run, workspace = await _taken_up(tools, work) or await _begun(tools, work, order)
    except WorkspaceFailed as error:
        spent = await _at_worst(tools, work)
        return Failed(str(error), spent=spent) if error.permanent else Retry(RETRY_S, str(error), spent)
    except OSError as error:
        reason = f"the run could not be begun: {error.strerror}"
        return Retry(RETRY_S, reason, await _at_worst(tools, work))
    async with _owned(tools, work):
        ended = await tools.runs.wait(run, heard)
        await tools.ponds.close(work)
        outcome = await judge(Ran(work, run, ended, workspace))
        await _cleared(tools, work, run)
    return outcome


@contextlib.asynccontextmanager
async def _owned(tools: Tools, work: Work) -> AsyncIterator[None]:
    """Own a job's run: whatever is raised meanwhile ends it, unless this process leaves and it is to go on."""
    try:
        yield
    except BaseException as error:
        if not (tools.runs.leaving and isinstance(error, asyncio.CancelledError)):
            await asyncio.shield(_given_up(tools, work))
        raise


async def _given_up(tools: Tools, work: Work) -> None:
    """End a job's run, and what it was given; of one that was not begun nothing stays."""
    run = await tools.runs.find(work.run_name)
    if run is not None:
        await tools.runs.end(run)
        await _cleared(tools, work, run)
    elif await tools.runs.forget(work.run_name):
        await tools.ponds.close(work)


async def _cleared(tools: Tools, work: Work, run: Run) -> None:
    try:
        await tools.ponds.close(work)
    finally:
        await tools.runs.tidy(run)


async def _at_worst(tools: Tools, work: Work) -> Spent:
    """Give what a run that was given up at its beginning may have cost; nothing, if it was not begun."""
    run = await tools.runs.find(work.run_name)
    return Spent(await asyncio.to_thread(run.at_worst)) if run is not None else NOTHING


async def _taken_up(tools: Tools, work: Work) -> tuple[Run, Workspace] | None:
    """Give the run that an earlier process of the daemon began; None: there is none."""
    run = await tools.runs.find(work.run_name)
    if run is None:
        return None
    noted = await asyncio.to_thread(run.notes)
    if noted.get(OF, _identity(work)) != _identity(work):
        log.warning("a run of this name is another job's, as after a ledger was restored: it is removed", run=run.name)
        await tools.runs.discard(run)
        return None
    workspace = await tools.workspaces.find(work.project, work.task.key)
    if workspace is None:
        raise WorkspaceFailed("the workspace of a run that was taken up is gone")
    return run, workspace


def _identity(work: Work) -> str:
    """Tell a job's claim from every other one: numbers of jobs are given anew where a ledger is restored."""
    task, job = work.task, work.job
    return f"{task.key} {job.task} {job.stage} {job.visit} {job.attempt} {job.started_at}"


async def _begun(tools: Tools, work: Work, order: Ordering) -> tuple[Run, Workspace]:
    workspace = await tools.workspaces.prepare(work.project, work.task.key, work.task.branch, work.job.sha)
    if work.job.sha and workspace.remote_head and workspace.remote_head != work.job.sha:
        raise BranchMoved(f"{work.task.branch} is at {workspace.remote_head[:12]} by now, not {work.job.sha[:12]}")
    prepared = await tools.runs.prepared(work.run_name)
    wanted = await order(workspace)
    access = await tools.ponds.open(work, prepared.home)
    passed = {key: tools.passed[key] for key in wanted.passes if key in tools.passed}
    env = {**environment(tools.environ, prepared.home, work), **access.variables, **passed}
    spec = Spec(
        wanted.argv,
        workspace.path,
        env,
        wanted.limits,
        [*access.secrets, *passed.values()],
        wanted.stdin,
        wanted.events,
        wanted.finals,
        {**wanted.notes, OF: _identity(work)},
    )
    run = await tools.runs.start(work.run_name, spec)
    await tools.desk.began(work, run)
    return run, workspace


def environment(environ: Mapping[str, str], home: Path, work: Work) -> dict[str, str]:
    """Make the environment of a run: what is allowed, a HOME of its own, and what it is about."""
    kept = {"PATH": environ.get("PATH", SAFE_PATH), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    places = {
        "HOME": home,
        "TMPDIR": home / "tmp",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_DATA_HOME": home / ".local/share",
    }
    about = {
        "CI": "true",
        "MILLPOND_TASK": work.task.key,
        "MILLPOND_STAGE": work.job.stage,
        "MILLPOND_BRANCH": work.task.branch,
        "MILLPOND_BASE": work.project.branch,
        "MILLPOND_COMMIT": work.job.sha,
    }
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _WHO.items()}
    return {**kept, **{key: str(place) for key, place in places.items()}, **about, **who, "GIT_TERMINAL_PROMPT": "0"}


_WHO = {"NAME": "Millpond", "EMAIL": "millpond@localhost"}


async def pushed(tools: Tools, ran: Ran, message: str) -> str:
    """Commit what a run left, and push the branch; gives the commit. Raises `StepFailed`."""
    try:
        sha = await tools.workspaces.commit(ran.workspace, message)
        if sha == ran.workspace.start and not ran.workspace.remote_head:
            return ""  # nothing was changed, and there is no branch: none is made
        await _push_patiently(tools, ran, sha)
    except BranchMoved as error:
        raise StepFailed(str(error), after_s=MOVED_S) from error
    except WorkspaceFailed as error:
        raise StepFailed(str(error), after_s=None if error.permanent else RETRY_S) from error
    return sha


async def _push_patiently(tools: Tools, ran: Ran, sha: str) -> None:
    """Push, again where that fails: a run that is done anew would be paid anew. Raises `WorkspaceFailed`."""
    for pause_s in AGAIN_S:
        try:
            await tools.workspaces.push(ran.work.project, ran.workspace, sha)
        except BranchMoved:
            raise
        except WorkspaceFailed as error:
            if error.permanent:
                raise
            log.warning("a push failed; it is tried again", run=ran.run.name, error=str(error))
            await asyncio.sleep(pause_s)
        else:
            return
    await tools.workspaces.push(ran.work.project, ran.workspace, sha)


def trouble(ended: Ended, limits: Limits) -> str:
    """Say in words what ended a run that did not end by itself; empty: it did."""
    if ended.why:
        return ended.why
    match ended.how:
        case How.TIMEOUT:
            return f"it took longer than {limits.timeout_s:.0f} s, and was ended"
        case How.STALLED:
            return f"it said nothing for {limits.stall_s:.0f} s, and was ended"
        case How.NOT_STARTED:
            return f"{UNSTARTED}: {ended.detail}; see that it is in the daemon's PATH, or name another in the stage"
        case How.STOPPED:
            return "it was stopped"
    return ""


def last_words(run: Run) -> str:
    """Give the end of a run's log, as one line."""
    return " / ".join(last_lines(run))


def last_lines(run: Run, lines: int = LINES) -> list[str]:
    """Give the last lines of a run's log that are not empty."""
    try:
        with run.log.open("rb") as file:
            file.seek(max(0, run.log.stat().st_size - TAIL))
            text = file.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return []
    told = ["".join(char if char.isprintable() else " " for char in line).strip() for line in text.splitlines()]
    return [line for line in told if line][-lines:]


def as_outcome(error: StepFailed, spent: Spent = NOTHING) -> Outcome:
    """Give what becomes of a job that can't go on."""
    if error.after_s is None:
        return Failed(str(error), spent=spent)
    return Retry(error.after_s, str(error), spent, error.not_yet)
