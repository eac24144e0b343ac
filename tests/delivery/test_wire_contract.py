"""The contract, part B, on the wire: what people may do when, what is remembered of a board, what labels set."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from tests.delivery.wired import FINE, PIPELINE, PLAIN, SHOP, TOYS, Wired, wired

from millpond.adapters.plane import Plane
from millpond.delivery.model import Input, Issue, JobState, Key, Nudge, Phase, Project
from millpond.delivery.pipeline import GateRule, Label, Pipeline, Stage
from millpond.testing.planeserver import Fails

PARKS = Pipeline((Stage("build", "command", gates=(GateRule("human-verdict"),)), PIPELINE.stages[1]))
"""A verdict that says no parks the task."""
TWICE = replace(PIPELINE, stages=tuple(replace(PARKS.stages[0], name=name) for name in ("build", "look")))
"""Two verdicts, one after the other."""
LABELS = {"hotfix": Label(skip=frozenset({"build"}), priority=5, settings={"model": "large"})}
LABELLED = replace(PIPELINE, stages=(replace(PIPELINE.stages[0], name="plan"), *PIPELINE.stages), labels=LABELS)


@pytest_asyncio.fixture
async def w(db: Any) -> AsyncIterator[Wired]:
    async with wired(db) as made:
        yield made


def writes(w: Wired) -> list[str]:
    return [line for line in w.plane.requests if line.startswith(("PATCH", "POST"))]


async def look(w: Wired) -> None:
    """Look at all that is due, and send, but work on nothing."""
    while await w.engine.look(10) or await w.engine.send(10):
        pass


async def only_look(w: Wired) -> None:
    """Look at all that is due, and send nothing."""
    while await w.engine.look(10):
        pass


async def hear_and_poll(w: Wired) -> None:
    """Have everything looked at that can be: what webhooks tell, and what polls find after the grace period."""
    await w.hear(w.deliveries())
    await look(w)
    await w.engine.poll()
    await w.age(400)
    await look(w)


# what is begun, and resumed


async def test_a_parked_task_is_resumed_by_a_move_to_to_analyse_of_its_own(db: Any):
    async with wired(db, pipeline=PARKS) as w:
        issue = w.issue()
        await w.round()
        w.place(issue, "Rejected")
        await w.round()
        (task,) = await w.tasks()
        assert (task.phase, task.visit, w.column(issue)) == (Phase.PARKED, 1, "Needs Input")
        w.place(issue, "To Analyse")
        await w.hear(w.deliveries())
        await w.settle()
        (task,) = await w.tasks()
        assert (task.stage, task.phase, task.visit) == ("build", Phase.GATED, 2), "the same task, and its stage anew"
        w.place(issue, "Approved")
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE


async def test_a_move_to_to_analyse_of_before_it_was_parked_resumes_nothing(db: Any):
    async with wired(db, pipeline=PARKS) as w:
        issue = w.issue()
        await w.round()
        w.place(issue, "To Analyse")
        await w.round()
        (task,) = await w.tasks()
        await w.ledger.park(task.id, "ada", "closed until Monday")
        for _ in range(2):
            await w.settle()
            await w.round()
        assert (await w.tasks())[0].phase is Phase.PARKED
        w.place(issue, "Backlog")
        await w.round()
        w.place(issue, "To Analyse")
        await w.round()
        (task,) = await w.tasks()
        assert (task.phase, task.visit) == (Phase.GATED, 2)


async def test_through_the_alias_nothing_is_resumed(db: Any):
    """A board without To Analyse: In Progress begins a task, but whoever moves a parked one there did not mean that."""
    async with wired(db, PLAIN, pipeline=PARKS) as w:
        issue = w.issue("In Progress")
        await w.round()
        w.plane.say(SHOP.tracker_project, issue, "/reject")
        await w.round()
        assert (await w.tasks())[0].phase is Phase.PARKED
        for column in ("Todo", "In Progress", "Backlog", "In Progress"):
            w.place(issue, column)
            await w.hear(w.deliveries())
            await w.settle()
            await w.round()
        (task,) = await w.tasks()
        assert (task.phase, task.visit) == (Phase.PARKED, 1)
        await w.ledger.release(task.id, "ada")
        await w.settle()
        assert (await w.tasks())[0].visit == 2, "a person's command resumes it"


async def test_eight_who_look_at_once_begin_one_task(w: Wired, monkeypatch: pytest.MonkeyPatch):
    """As if no lease of the nudge kept them from each other: each has seen an issue without a task before one acts."""
    real, all_have_seen, looks = Plane.get, asyncio.Barrier(8), count()

    async def get(self: Plane, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        found = await real(self, project, ids)
        if next(looks) < all_have_seen.parties:
            await all_have_seen.wait()
        return found

    monkeypatch.setattr(Plane, "get", get)
    nudge = Nudge(SHOP.name, w.issue(), urgent=True)
    async with asyncio.timeout(60):
        await asyncio.gather(*(w.engine._go_on(SHOP, nudge) for _ in range(8)))
    (task,) = await w.tasks()
    (job,) = await w.ledger.jobs.of(task.id)
    assert (task.key, job.stage, job.state) == ("SH-1", "build", JobState.QUEUED)


async def test_two_issues_of_a_repo_have_one_running_job(w: Wired):
    for _ in range(2):
        w.issue()
    w.issue(project=TOYS)
    await w.hear(w.deliveries())
    await look(w)
    claimed = await w.ledger.jobs.claim("w", 60, most=9, limit=9)
    assert sorted(job.repo for job in claimed) == ["team/shop", "team/toys"]
    assert await w.ledger.jobs.claim("w", 60, most=9, limit=9) == []
    for job in claimed:
        await w.ledger.jobs.finish(job, await w._step(job))
    assert [job.repo for job in await w.ledger.jobs.claim("w", 60, most=9, limit=9)] == ["team/shop"]


# never amid a job


async def test_while_a_job_is_queued_or_runs_nothing_is_done_whatever_the_board_says(w: Wired):
    issue = w.issue()
    await w.hear(w.deliveries())
    await look(w)
    claimed = []
    for state in (JobState.QUEUED, JobState.RUNNING):
        if state is JobState.RUNNING:
            claimed = await w.ledger.jobs.claim("w", 6000, most=4)
        (before,) = await w.tasks()
        written = writes(w)
        for column in ("Approved", "Rejected", "To Analyse", "Blocked", "Approved"):
            w.place(issue, column)
            await hear_and_poll(w)
            assert w.column(issue) == column, "it is left where a person put it"
        (task,) = await w.tasks()
        jobs = await w.ledger.jobs.of(task.id)
        assert [job.state for job in jobs] == [state]
        assert (task.stage, task.visit, task.phase, task.inputs) == ("build", 1, Phase.WORKING, before.inputs)
        assert await w.ledger.evidence(task) == []
        assert writes(w) == written
    (job,) = claimed
    await w.ledger.jobs.finish(job, await w._step(job))
    await w.round()
    assert (await w.tasks())[0].stage in {"build", "merge"}


async def test_a_person_takes_an_issue_back_amid_a_job_which_is_asked_to_stop(w: Wired):
    """The one thing that is done meanwhile."""
    issue = w.issue()
    await w.hear(w.deliveries())
    await look(w)
    (job,) = await w.ledger.jobs.claim("w", 60, most=4)
    w.place(issue, "Cancelled")
    await w.hear(w.deliveries())
    await look(w)
    assert (await w.ledger.jobs.heartbeat(job, 60)).stop
    assert (await w.tasks())[0].phase is Phase.WORKING, "it ends when its job has"


# verdicts


async def test_a_verdict_that_a_poll_finds_waits_for_the_grace_period_and_counts_once(db: Any):
    async with wired(db, pipeline=TWICE) as w:
        issue = w.issue()
        await w.round()
        w.plane.now = (await w.ledger.now()) + 1  # somebody moves it just now
        w.place(issue, "Approved")
        await w.engine.poll()
        await w.settle()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("build", Phase.GATED)
        w.plane._find(SHOP.tracker_project, issue)["updated_at"] = "2026-01-01T00:00:00.000000Z"
        await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("look", Phase.GATED), "it passes the first gate"
        await w.round()
        assert (await w.tasks())[0].phase is Phase.GATED, "and not the second one"


async def test_the_next_gate_is_armed_by_having_seen_the_board_elsewhere(db: Any):
    """A board on which we write nothing: it has none of the columns that are shown."""
    columns = [one for one in FINE if one[0] not in {"In Progress", "Needs Input", "Analysis", "Code Review", "Done"}]
    async with wired(db, columns, pipeline=TWICE) as w:
        issue = w.issue()
        await w.round()
        w.place(issue, "Approved")
        for _ in range(3):
            await w.hear(w.deliveries())
            await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("look", Phase.GATED), "what stands there was used"
        w.place(issue, "Backlog")
        await w.round()
        w.place(issue, "Approved")
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert w.moves(issue) == []


async def test_the_next_gate_is_armed_by_our_own_confirmed_write(db: Any):
    """A person moves it back to Approved before anybody has seen where we had put it."""
    async with wired(db, pipeline=TWICE) as w:
        issue = w.issue()
        await w.round()
        w.place(issue, "Approved")
        await w.hear(w.deliveries())
        await only_look(w)
        (job,) = await w.ledger.jobs.claim("w", 60, most=4)
        await w.ledger.jobs.finish(job, await w._step(job))
        await only_look(w)
        (task,) = await w.tasks()
        assert (task.stage, task.phase, task.used) == ("look", Phase.GATED, Input.VERDICT)
        assert w.column(issue) == "Approved", "what stands there was used, and nothing is written yet"
        while await w.engine.send(10):
            pass
        assert w.column(issue) == "Needs Input"
        w.place(issue, "Approved")
        await w.hear(w.deliveries())
        await w.settle()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert w.moves(issue)[-1] == "Done"


async def test_a_click_and_a_command_at_one_gate_do_not_pass_the_next_one(db: Any):
    """The webhook of the click is lost, so that the command knows nothing of it."""
    columns = [one for one in FINE if one[0] not in {"Analysis", "Code Review", "Needs Input"}]
    async with wired(db, columns, pipeline=TWICE) as w:
        issue = w.issue()
        await w.round()
        (task,) = await w.tasks()
        w.place(issue, "Approved")
        await w.ledger.say(task.id, "ada", approved=True)
        for _ in range(3):
            await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("look", Phase.GATED)
        assert w.column(issue) == "In Progress"
        w.place(issue, "Approved")
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE


async def test_a_commit_that_no_gate_passed_is_not_merged_when_the_pipeline_is_changed_under_it(db: Any):
    build, merge = replace(PARKS.stages[0], gates=()), PIPELINE.stages[1]
    async with wired(db, pipeline=Pipeline((build, replace(PARKS.stages[0], name="look"), merge))) as w:
        issue = w.issue()
        await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("look", Phase.GATED)
        w.pipeline = Pipeline((PARKS.stages[0], replace(build, name="look"), merge))
        await w.round()
        await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("merge", Phase.PARKED)
        repo = w.gitea.repos[SHOP.repo]
        assert task.sha not in repo.history(repo.branches["main"])
        w.gitea.push(SHOP.repo, task.branch, more="x")  # what is said on the issue helps
        await w.ledger.release(task.id, "ada")
        await w.settle()
        (task,) = await w.tasks()
        assert (task.stage, task.phase, w.column(issue)) == ("build", Phase.GATED, "Needs Input")


# what is remembered of a board


async def test_without_a_lifetime_columns_are_read_once_in_the_life_of_the_process(db: Any):
    async with wired(db, PLAIN, ttl_s=0.0) as w:
        issue = w.issue("In Progress")
        await w.round()
        w.columns["shop"]["Approved"] = str(w.plane.column(SHOP.tracker_project, "Approved", "started")["id"])
        w.place(issue, "Approved")
        for _ in range(3):
            w.clock.advance(10**7)
            await w.round()
        assert (await w.tasks())[0].phase is Phase.GATED, "what Approved means is not known"
        asked = [line for line in w.plane.requests if f"{SHOP.tracker_project}/states/" in line]
        assert len(asked) == 1
        w.states.clear()  # a reload
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE


async def test_the_configured_defaults_read_a_board_that_was_never_read_and_are_never_written(db: Any):
    defaults = {Key.BLOCKED: "a-column-of-nobody"}
    async with wired(db, defaults=defaults) as w:
        named = ((Key.TO_ANALYSE, "To Analyse"), (Key.NEEDS_INPUT, "Needs Input"), (Key.IN_PROGRESS, "In Progress"))
        defaults.update((key, w.columns["shop"][name]) for key, name in named)
        w.plane.fail(Fails.ERROR, 10**6, words="/states/")
        issue = w.issue()
        await w.round()
        (task,) = await w.tasks()
        assert (task.phase, task.key) == (Phase.GATED, "SH-1")
        assert (w.column(issue), w.moves(issue)) == ("To Analyse", [])
        w.plane.faults.clear()
        w.clock.advance(300)
        await w.round()
        assert w.column(issue) == "Needs Input", "once it could be read, it is shown"


async def test_a_default_for_a_column_that_the_board_lacks_is_never_written(db: Any):
    """It has no Needs Input; the default names another column of it, which nobody moves the issue to."""
    defaults = {Key.BLOCKED: "a-column-of-nobody"}
    columns = [one for one in FINE if one[0] != "Needs Input"]
    async with wired(db, columns, defaults=defaults) as w:
        defaults[Key.NEEDS_INPUT] = w.columns["shop"]["Backlog"]
        issue = w.issue()
        await w.round()
        assert (await w.tasks())[0].phase is Phase.GATED
        assert w.moves(issue) == ["In Progress"]


# what labels set


async def test_labels_set_a_task_s_options_when_it_is_made(db: Any):
    async with wired(db, pipeline=LABELLED) as w:
        label = w.plane.label(SHOP.tracker_project, "HotFix")
        issue = w.issue(labels=[label])
        await w.hear(w.deliveries())
        await look(w)
        (task,) = await w.tasks()
        assert (task.stage, task.options.priority, task.options.skip) == ("plan", 5, {"build"})
        (job,) = await w.ledger.jobs.of(task.id)
        assert (job.priority, job.settings["model"]) == (5, "large")
        w.plane.place(SHOP.tracker_project, issue, w.columns["shop"]["To Analyse"], labels=[])
        await w.round()
        w.place(issue, "Approved")
        await w.round()
        (task,) = await w.tasks()
        assert (task.phase, {job.stage for job in await w.ledger.jobs.of(task.id)}) == (Phase.DONE, {"plan", "merge"})


async def test_a_task_waits_for_those_that_its_labels_name(w: Wired):
    first = w.issue()
    label = w.plane.label(SHOP.tracker_project, "after:sh-1")
    second = w.issue(labels=[label])
    for _ in range(2):
        await w.round()
    tasks = {task.issue: task for task in await w.tasks()}
    assert (tasks[first].phase, tasks[second].phase) == (Phase.GATED, Phase.READY)
    assert await w.ledger.jobs.of(tasks[second].id) == []
    w.place(first, "Approved")
    await w.round()
    await w.round()
    tasks = {task.issue: task for task in await w.tasks()}
    assert (tasks[first].phase, tasks[second].phase) == (Phase.DONE, Phase.GATED)


# the merge


async def test_a_merge_that_the_forge_tells_of_counts_once_the_commit_is_on_the_branch(w: Wired):
    """Somebody turns the branch back right after: the forge's word alone is no merge."""
    issue = w.issue()
    await w.round()
    repo = w.gitea.repos[SHOP.repo]
    main, sha = repo.branches["main"], (await w.tasks())[0].sha

    def meanwhile(line: str) -> None:
        if re.match(r"GET .*/compare/", line) and any(one["merged"] for one in repo.pulls):
            repo.branches["main"] = main

    w.gitea.before = meanwhile
    w.place(issue, "Approved")
    await w.round()
    (task,) = await w.tasks()
    assert (task.stage, task.phase, w.column(issue)) == ("merge", Phase.READY, "In Progress")
    assert "but it is not on main" in task.reason
    w.gitea.before = None
    repo.branches["main"] = repo.commit((main, sha), repo.files[sha])  # what was merged is there after all
    await w.round()
    assert ((await w.tasks())[0].phase, w.column(issue)) == (Phase.DONE, "Done")


# the reconciler


async def test_a_poll_finds_what_was_told_while_nobody_listened_and_acts_once(w: Wired):
    """The daemon was away: a task is to be begun, a verdict was given, and webhooks are not sent again."""
    waits = w.issue()
    await w.round()
    w.place(waits, "Approved")
    begins = w.issue()
    w.deliveries()
    for _ in range(3):
        await w.round()
    one, other = await w.tasks()
    assert (one.issue, one.phase) == (waits, Phase.DONE)
    assert (other.issue, other.phase, other.visit) == (begins, Phase.GATED, 1)
    assert len([job for job in await w.ledger.jobs.of(other.id) if job.stage == "build"]) == 1


async def test_projects_have_columns_of_their_own(w: Wired):
    """The same name is another column in another project; states are never mixed up."""
    mine, theirs = w.issue(), w.issue(project=TOYS)
    await w.round()
    assert (w.column(mine), w.column(theirs, TOYS)) == ("Needs Input", "Needs Input")
    w.plane._find(TOYS.tracker_project, theirs)["state"] = w.columns["shop"]["Approved"]  # an id of the other board
    w.place(mine, "Approved")
    await w.round()
    one, other = await w.tasks()
    assert (one.key, one.phase) == ("SH-1", Phase.DONE)
    assert (other.key, other.branch, other.phase) == ("TO-1", "feature/TO-1-a-title", Phase.GATED)
