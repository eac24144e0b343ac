"""The engine: take a nudge, observe, decide, apply; poll for what nobody told; send what is in the outbox.

There is one path. Webhooks, people's commands and jobs' ends only nudge; a poll nudges, too. What is decided is decided
about the ledger as it was read *before* the tracker was: if the ledger moved on meanwhile, nothing is applied and one
looks again, so that an old view of the board never meets a new state of the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from millpond.delivery.bases import Bases
from millpond.delivery.board.states import StatesCache
from millpond.delivery.board.verdicts import said_in
from millpond.delivery.deciding.actions import Action, Wait
from millpond.delivery.deciding.decide import WORKTREES, decide, taken_back
from millpond.delivery.deciding.looking import Look, World
from millpond.delivery.dependencies import Dependencies, Missing
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Evidence, Issue, Job, Nudge, OutboxItem, Phase, Project, Spend, Task
from millpond.delivery.pipeline import Pipeline
from millpond.delivery.polling import Found, Polls
from millpond.delivery.ports import Forge, ForgeFailed, Tracker, TrackerFailed
from millpond.delivery.ratebudget import used_for
from millpond.delivery.rates import Use
from millpond.delivery.troubles import Troubles

MAX_STEPS = 60
"""In one look; what needs more goes on with the next."""
LONG = 1000
"""Characters of a comment that is read by itself (`_hear`)."""
UNKNOWN_S = 300.0
"""How long a nudge is put off while its project is not configured."""
FORGET_S = 86400.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine works; spans in seconds."""

    grace_s: float = 120.0
    lease_s: float = 60.0
    """How long one look, or one write of the outbox, may take before somebody else does it."""
    sweep_s: float = 3600.0
    """How often a poll lists everything again, whatever is said to have changed."""
    dependencies: bool = True
    """Whether tasks wait for those that they depend on."""


async def _never_paused() -> tuple[float, str]:
    return 0.0, ""


async def _none_missing(key: str) -> bool:
    del key
    return False


def _repo(project: Project) -> str:
    return project.repo


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the engine works with.

    `alert` tells the operators; `paused` says until when no job starts, and why; `place` where people push code to;
    `missing` of which issues it is certain that they are not there.
    """

    tracker: Tracker
    forge: Forge
    states: StatesCache
    projects: Mapping[str, Project]
    pipeline: Callable[[Project], Awaitable[Pipeline]]
    alert: Callable[[str], Awaitable[None]]
    paused: Callable[[], Awaitable[tuple[float, str]]] = _never_paused
    place: Callable[[Project], str] = _repo
    missing: Missing = _none_missing


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger says of an issue."""

    task: Task | None
    jobs: list[Job] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    spend: Spend = field(default_factory=Spend)


class Engine:
    """The engine over one ledger."""

    def __init__(
        self,
        ledger: Ledger,
        around: Surroundings,
        monotonic: Callable[[], float],
        options: EngineOptions | None = None,
    ) -> None:
        self._ledger, self._around, self._monotonic = ledger, around, monotonic
        self._options = options or EngineOptions()
        self._dependencies = Dependencies(ledger, around.projects, around.missing)
        self._troubles = Troubles()
        self._bases = Bases(around.forge, ledger.nudges, around.place, monotonic)
        self._polls = Polls(ledger, around, self._bases, monotonic, self._options.sweep_s)

    async def look(self, limit: int = 1) -> int:
        """Take nudges that are due and look at their issues; gives how many there were."""
        taking = asyncio.ensure_future(self._ledger.nudges.take(self._options.lease_s, limit))
        try:
            taken = await asyncio.shield(taking)
            for one in taken:
                await self._look(one)
        except asyncio.CancelledError:  # a reload, or a stop: who comes next need not wait for the end of the lease
            await asyncio.shield(self._give_back(taking))
            raise
        return len(taken)

    async def _give_back(self, taking: Awaitable[Sequence[Nudge]]) -> None:
        for one in await taking:
            await self._ledger.nudges.give_back(one)

    async def poll(self, *, dry_run: bool = False) -> list[Found]:
        """Ask the tracker what has changed in each project; see `polling`."""
        return await self._polls.all(dry_run=dry_run)

    async def send(self, limit: int = 1) -> int:
        """Send writes of the outbox that are due; gives how many there were.

        Each is taken when it is its turn, so that its lease is fresh, and none is sent that was taken back meanwhile.
        """
        for count in range(limit):
            taken = await self._ledger.outbox.take(self._options.lease_s)
            if not taken:
                return count
            await self._send_one(taken[0])
        return limit

    async def _send_one(self, item: OutboxItem) -> None:
        outbox = self._ledger.outbox
        try:
            with used_for(Use.WRITE):
                await self._send(item)
        except TrackerFailed as error:
            if error.permanent:
                await outbox.drop(item, str(error))
            else:
                await outbox.retry(item, str(error), error.after_s)
        except asyncio.CancelledError:
            await asyncio.shield(outbox.retry(item, "it was broken off"))
            raise
        except Exception as error:  # one write's trouble is not the others'
            log.exception("a write could not be sent", project=item.project, issue=item.issue, error=str(error))
            await outbox.retry(item, f"{type(error).__name__}: {error}")

    async def why(self, project: Project, issue_id: str, *, urgent: bool = False) -> tuple[Action, ...]:
        """Say what would be done about an issue now, without doing it. Raises `TrackerFailed`, `ForgeFailed`."""
        return (await self.view(project, issue_id, urgent=urgent))[0]

    async def view(
        self, project: Project, issue_id: str, *, urgent: bool = False
    ) -> tuple[tuple[Action, ...], Look | None]:
        """Say what would be done about an issue now, and what one sees of it; None: it has no open task.

        `urgent`: as if somebody told to look, so that no grace period is waited for; so it is where somebody did.
        """
        known = await self._known(project.name, issue_id)
        issue = await self._read(project, issue_id)
        there = await self._ledger.nudges.of(project.name, issue_id)
        told, seen_at = (there.urgent, there.seen_at) if there is not None else (False, 0.0)
        nudge = Nudge(project.name, issue_id, urgent=urgent or told, seen_at=seen_at)
        return await self._decide(project, issue, known, nudge, peek=True)

    async def _look(self, nudge: Nudge) -> None:
        project = self._around.projects.get(nudge.project)
        if project is None:
            await self._unknown(nudge)
            return
        try:
            with used_for(Use.URGENT if nudge.urgent else Use.READ):
                wait = await self._go_on(project, nudge)
        except (TrackerFailed, ForgeFailed) as error:
            if self._troubles.new(project.name, nudge.issue, str(error)):
                log.warning("issues could not be looked at", project=project.name, issue=nudge.issue, error=str(error))
            await self._ledger.nudges.failed(nudge, error.after_s)
            return
        except Exception as error:  # one issue's trouble is not the others'
            log.exception("a look at an issue failed", project=project.name, issue=nudge.issue, error=str(error))
            await self._ledger.nudges.failed(nudge)
            return
        if self._troubles.over(project.name, nudge.issue):
            log.info("issues can be looked at again", project=project.name, issue=nudge.issue)
        until = await self._until(project, nudge, wait)
        await self._ledger.nudges.done(nudge, until=until, keep_urgent=wait.for_base)

    async def _unknown(self, nudge: Nudge) -> None:
        """Look at an issue whose project was taken out of the configuration, perhaps for a moment.

        What a person has taken back comes to its end all the same. All else waits for a day; then it is forgotten,
        since the polls of a project that comes back find it again.
        """
        known, now = await self._known(nudge.project, nudge.issue), await self._ledger.now()
        task = known.task
        if task is not None and task.open and task.cancelling:
            gone = Project(task.project, "", task.repo, "")
            actions = taken_back(known.jobs, f"cancelled by {task.cancelling}", "", task.cancelling)
            if not isinstance(actions[0], Wait):
                about = Issue(task.issue, task.project, 0, task.title, "", 0.0)
                await self._ledger.apply(gone, about, task, actions)
                await self._ledger.nudges.done(nudge, until=now)
                return
        await self._ledger.nudges.done(nudge, until=now + UNKNOWN_S if now - nudge.seen_at < FORGET_S else None)

    async def _until(self, project: Project, nudge: Nudge, wait: Wait) -> float | None:
        """Say when an issue is looked at again: what waits for a base branch, when that is looked for."""
        if wait.for_base:
            return await self._ledger.now() + self._bases.waits(project, nudge)
        await self._bases.left(project, nudge.issue)
        return wait.until

    async def _go_on(self, project: Project, nudge: Nudge) -> Wait:
        """Decide and apply, step by step, until there is nothing more to do."""
        applied: Task | None = None
        issue: Issue | None = None
        read = False
        for _ in range(MAX_STEPS):
            known = await self._known(project.name, nudge.issue)
            if not read and (held := await self._bases.held(project, nudge, known.task)):
                return held
            if not read or known.task != applied:  # somebody else wrote: what we know of the board may be older
                issue, read = await self._read(project, nudge.issue), True
            actions, look = await self._decide(project, issue, known, nudge)
            rulings = look.rulings if look is not None and known.task and known.task.phase is Phase.GATED else ()
            if isinstance(actions[0], Wait) and not rulings:
                return actions[0]
            about = issue or Issue(nudge.issue, project.name, 0, "", "", 0.0)
            result = await self._ledger.apply(project, about, known.task, actions, rulings)
            applied = result.task if result.done else None
            if applied is not None and not applied.open and known.task is not None and known.task.open:
                await self._dependencies.wake(applied)
            if isinstance(actions[0], Wait) and result.done:
                return actions[0]
        log.warning("an issue needs many steps; it is looked at again", project=project.name, issue=nudge.issue)
        return Wait("many steps", 0.0)

    async def _known(self, project: str, issue: str) -> _Known:
        task = await self._ledger.last_task(project, issue)
        if task is None or not task.open:
            return _Known(task)
        jobs = await self._ledger.jobs.of(task.id, visit=task.visit)
        return _Known(task, jobs, await self._ledger.evidence(task), await self._ledger.spend(task))

    async def _read(self, project: Project, issue: str) -> Issue | None:
        found = await self._around.tracker.get(project, [issue])
        return next((one for one in found if one.id == issue), None)

    async def _decide(
        self, project: Project, issue: Issue | None, known: _Known, nudge: Nudge, *, peek: bool = False
    ) -> tuple[tuple[Action, ...], Look | None]:
        pipeline = await self._around.pipeline(project)
        task, observed = known.task, list[Evidence]()
        if task is not None and task.open and not any(job.active for job in known.jobs):
            paths = _paths(task, pipeline)
            observed = list(await self._around.forge.observe(project, task.branch, paths, peek=peek))
        ready = task is not None and task.phase is Phase.READY
        paused_until, paused = await self._around.paused() if ready else (0.0, "")
        world = World(
            project=project,
            board=await self._around.states.board(project),
            pipeline=pipeline,
            urgent=nudge.urgent,
            grace_s=self._options.grace_s,
            seen_at=nudge.seen_at,
            spend=known.spend,
            after=await self._dependencies.of(task) if self._options.dependencies and task is not None else (),
            lacks_base=await self._lacks_base(project, issue, task, pipeline, anew=nudge.urgent or peek),
            past=await self._past(project, task, pipeline),
            head=next((one.sha for one in observed if one.kind == "head"), ""),
            line=await self._line(task, known.jobs),
            paused_until=paused_until,
            paused=paused,
        )
        evidence = [*known.evidence, *observed]
        await _hear(issue, task)
        now = await self._ledger.now()
        actions = decide(issue, task, known.jobs, evidence, now, world)
        if issue is None or task is None or not task.open:
            return actions, None
        return actions, Look(issue, task, tuple(known.jobs), tuple(evidence), now, world)

    async def _past(self, project: Project, task: Task | None, pipeline: Pipeline) -> tuple[Evidence, ...]:
        """Read all that a task showed, if it is at the gates of its last stage."""
        if task is None or task.phase is not Phase.GATED or pipeline.next(task.stage, project, task.options):
            return ()
        return tuple(await self._ledger.history(task))

    async def _lacks_base(
        self, project: Project, issue: Issue | None, task: Task | None, pipeline: Pipeline, *, anew: bool
    ) -> str:
        """Say where the base branch is missing of what begins, or has no commit yet; empty: it is there, or no need.

        Without it nobody knows which pipeline the repo will bring.
        """
        if task is not None and task.open:
            stage = pipeline.stage(task.stage) if task.phase is Phase.READY and not task.sha else None
            needed = stage is not None and stage.step in WORKTREES
        else:
            needed = issue is not None and (await self._around.states.board(project)).starts(issue.state)
        return await self._bases.lacking(project, anew=anew) if needed else ""

    async def _line(self, task: Task | None, jobs: Sequence[Job]) -> str:
        """Say which other job holds up a queued one."""
        if task is None or not any(job.active for job in jobs):
            return ""
        active = await self._ledger.jobs.active()
        ahead = next((job for job in active if job.repo == task.repo and job.task != task.id and job.worker), None)
        return f"job {ahead.id} ({ahead.stage}) runs in {ahead.repo}" if ahead else ""

    async def _send(self, item: OutboxItem) -> None:
        project = self._around.projects.get(item.project)
        if project is None:
            await self._ledger.outbox.drop(item, "the project is not configured any more")
            return
        text = str(item.payload.get("text", ""))
        match item.kind:
            case "move":
                await self._move(project, item)
                return
            case "comment":
                await self._around.tracker.comment(project, item.issue, text, item.key)
            case _:
                await self._around.alert(text)
        await self._ledger.outbox.confirm(item)

    async def _move(self, project: Project, item: OutboxItem) -> None:
        """Move an issue, unless a person has moved it since this was decided."""
        issue = await self._read(project, item.issue)
        state, seen = str(item.payload["state"]), item.payload["seen"]
        if issue is None or issue.state not in {state, *(seen if isinstance(seen, list) else ())}:
            await self._ledger.outbox.drop(item, "the issue is gone" if issue is None else "a person moved the issue")
            return
        if issue.state != state:
            await self._around.tracker.move(project, item.issue, state)
        await self._ledger.outbox.confirm(item)


async def _hear(issue: Issue | None, task: Task | None) -> None:
    """Read long comments one at a time: `decide` then finds them read, and the event loop is held by none of it."""
    if issue is None or task is None:
        return
    for one in issue.comments:
        if len(one.text) > LONG and (one.at, one.id) > task.mark:
            said_in(one.text)
            await asyncio.sleep(0)


def _paths(task: Task, pipeline: Pipeline) -> list[str]:
    """Name the files that the gates of a task's stage ask for."""
    stage = pipeline.stage(task.stage)
    rules = stage.gates if stage is not None else ()
    paths = [rule.settings["path"] for rule in rules if "path" in rule.settings]
    return [str(path).replace("{key}", task.key) for path in paths]
