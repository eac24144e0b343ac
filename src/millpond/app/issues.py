"""Why an issue is where it is, and what a person can do about it: what ``why``, ``task show`` and ``drift`` tell."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from millpond.adapters.localboard import LocalBoard
from millpond.app.application import App
from millpond.app.pipelines import PipelineRefused
from millpond.delivery.board import board
from millpond.delivery.deciding import advice
from millpond.delivery.deciding.actions import Action, Wait
from millpond.delivery.deciding.advice import Standing
from millpond.delivery.deciding.gates import awaits_person
from millpond.delivery.deciding.prospects import told
from millpond.delivery.deciding.pushes import Unseen, leads_back, unseen
from millpond.delivery.definition import FILE
from millpond.delivery.model import JobState, Key, Phase, Project, Task
from millpond.delivery.naming import parse_key
from millpond.delivery.ports import ForgeFailed, TrackerFailed
from millpond.delivery.ratebudget import used_for
from millpond.delivery.rates import Use
from millpond.errors import NotFound

WHY_S = 5.0
"""How long is waited for tracker and forge when somebody asks why."""
CHECK = "`millpond check` asks tracker and forge about each project"
_STANDS = ("grace period", "skip every stage")
"""Words of reasons why an issue does not begin that stands where one begins."""
NEEDED = ("looks", "worker", "outbox")
"""The parts without which no issue goes on."""


@dataclass(frozen=True, slots=True)
class Why:
    """What an issue waits for, or what would be done about it now; and what a person can do. `next` empty: nothing."""

    verdict: str
    next: str = ""


async def find_task(app: App, name: str) -> Task:
    """Find a task by its key or its number. Raises `NotFound`."""
    ledger = app.delivering.ledger
    number = int(name[:18]) if name.isascii() and name.isdigit() else None
    found = await (ledger.task(number) if number is not None else ledger.by_key(name))
    if found is None and number is None:  # case does not count: prefixes are written as their projects write them
        prefix, hyphen, rest = name.rpartition("-")
        known = [one.prefix for one in app.delivering.projects.values() if one.prefix.casefold() == prefix.casefold()]
        for written in dict.fromkeys([*known, prefix.upper()]):
            found = found or await ledger.by_key(f"{written}{hyphen}{rest}")
    if found is None:
        raise NotFound(_no_task(app, name))
    return found


def _no_task(app: App, name: str) -> str:
    """Say that there is no such task; what may be an issue that has not begun is told by ``why``."""
    parsed, projects = parse_key(name), app.delivering.projects.values()
    known = [one.prefix for one in projects if parsed is not None and one.prefix.casefold() == parsed[0].casefold()]
    if parsed is None or not known:
        return f"there is no task {name[:80]!r}: `millpond task ls --all` lists them"
    key = f"{known[0]}-{parsed[1]}"
    return (
        f"there is no task {name[:80]!r}: `millpond why {key}` says why; `millpond task ls --all` lists those there are"
    )


async def explain_issue(app: App, key: str) -> dict[str, Any] | None:
    """Say why an issue is where it is; None: that is no issue's key, or of no project. Raises `NotFound`."""
    parsed, projects = parse_key(key), app.delivering.projects.values()
    if parsed is None or not projects or key in app.repositories:
        return None
    project = next((one for one in projects if one.prefix.casefold() == parsed[0].casefold()), None)
    if project is None:
        raise NotFound(advice.unknown_prefix(parsed[0], [(one.prefix, one.name) for one in projects]))
    key = f"{project.prefix}-{parsed[1]}"
    task = await app.delivering.ledger.by_key(key)
    of = app.delivering
    issue_id = task.issue if task is not None else await of.numbers.find(of.tracker, of.states, project, parsed[1])
    facts: dict[str, Any] = {"project": project.name, "issue": issue_id}
    if task is not None:
        facts |= await _facts(app, task)
    if off := [name for name in NEEDED if not app.delivering.parts.part(name).enabled]:
        facts["switched off"] = ", ".join(off)
    found = await why_issue(app, project, issue_id, (key, task))
    return {"verdict": found.verdict, "next": found.next, "facts": facts}


async def _facts(app: App, task: Task) -> dict[str, Any]:
    told: dict[str, Any] = {"task": task.id, "stage": task.stage, "phase": str(task.phase), "branch": task.branch}
    told |= {"sha": task.sha, "attempts": task.attempts, "since": task.since}
    if task.phase is Phase.READY and task.not_before > app.clock.now():
        told["next attempt"] = task.not_before
    if task.reason and task.phase in {Phase.DONE, Phase.CANCELLED}:
        told["reason"] = task.reason
    gates = await app.delivering.showing.gates(task) if task.open else []
    return told | {f"gate {one['gate']}": f"{one['word']}: {one['reason']}" for one in gates}


async def why_issue(
    app: App, project: Project, issue: str, about: tuple[str, Task | None], use: Use = Use.URGENT
) -> Why:
    """Say what an issue waits for, and what a person can do. `about`: its key and task; `use`: what asking is worth."""
    try:
        async with asyncio.timeout(WHY_S):
            with used_for(use):
                actions = await app.delivering.engine.why(project, issue)
    except PipelineRefused as error:
        return Why(f"it can't be looked at: {error}", advice.refused(project.repo, FILE, project.branch))
    except (TrackerFailed, ForgeFailed) as error:
        return Why(f"it can't be looked at: {error}", CHECK)
    except TimeoutError:
        return Why(f"it can't be looked at: tracker and forge did not answer within {WHY_S:g} s", CHECK)
    begins = "elsewhere and back" in told(actions)
    back = await app.delivering.showing.sent_back(about[1].id) if about[1] is not None and about[1].open else ""
    verdict = told(actions) + (f"; {back}" if back and back not in told(actions) else "")
    if about[1] is not None and about[1].open and not isinstance(actions[0], Wait):
        return Why(verdict, "")  # it is about to move on: what a person says now is about what was before
    return Why(verdict, advice.next_step(await _standing(app, about, begins=begins or _acts(actions))))


async def unseen_push(app: App, task: Task) -> Unseen | None:
    """Give somebody else's commit on a task's branch that nobody has looked at yet.

    None: there is none, or forge and pipeline can't be asked now.
    """
    of, project = app.delivering, app.delivering.projects.get(task.project)
    if project is None:
        return None
    try:
        async with asyncio.timeout(WHY_S):
            with used_for(Use.READ):
                observed = await of.forge.observe(project, task.branch, [], peek=True)
                head = next((one.sha for one in observed if one.kind == "head"), "")
                pipeline = await of.pipelines.of(project)
    except (ForgeFailed, TimeoutError):
        return None
    return Unseen(head, leads_back(task, project, pipeline)) if unseen(task, head, pipeline) else None


def _acts(actions: tuple[Action, ...]) -> bool:
    """Whether an issue without a task stands where one begins: that is being done, or waits for what is told."""
    first = actions[0]
    return not isinstance(first, Wait) or first.for_base or any(words in first.reason for words in _STANDS)


async def _standing(app: App, about: tuple[str, Task | None], *, begins: bool) -> Standing:
    (key, task), of = about, app.delivering
    asks = question = False
    if task is not None and task.phase is Phase.GATED:
        gates = await of.showing.gates(task)
        asks = awaits_person(((one["gate"], one["word"]) for one in gates), unseen=False)
    if task is not None and task.phase is Phase.PARKED:
        jobs = await of.ledger.jobs.of(task.id)
        question = bool(jobs) and jobs[-1].state is JobState.ASKED
    start = board.names(app.config.tracker.states)[Key.TO_ANALYSE]
    embedded = isinstance(of.bare_tracker, LocalBoard)
    columns = task is None or not asks or await _has_columns(app, of.projects.get(task.project))
    return Standing(key, task, app.clock.now(), asks, question, embedded, start, begins, columns)


async def _has_columns(app: App, project: Project | None) -> bool:
    """Whether a verdict can be given by moving the issue; so it is said where nobody knows the board."""
    if project is None:
        return True
    try:
        async with asyncio.timeout(WHY_S):
            with used_for(Use.READ):
                known = await app.delivering.states.board(project)
    except TimeoutError:
        return True
    return known.takes_verdicts or not known.groups
