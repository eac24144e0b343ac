"""The engine over a real ledger: one path for webhooks and polls, outages, people, what leaves for the tracker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from tests.delivery.driven import SHOP, Driven, Outside

from millpond.delivery.deciding.actions import CreateTask, Show, Wait
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.showing import Showing
from millpond.delivery.ledger.tables import NUDGES, TASKS
from millpond.delivery.model import Comment, Done, Job, Key, Listing, Park, Phase, Project, State, Stopped
from millpond.delivery.pipeline import DEFAULT, GateRule, Pipeline, Stage
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.ratebudget import _USE
from millpond.delivery.rates import Use
from millpond.errors import Conflict
from millpond.testing.forge import FakeForge
from millpond.testing.tracker import FakeTracker


@pytest.fixture
def driven(db: Any) -> Driven:
    return Driven(db, Outside())


def issue(driven: Driven, name: str = "i1", state: str = "to-analyse", **more: object) -> None:
    driven.outside.tracker.put(SHOP, name, state=state, **more)


async def settle(driven: Driven) -> None:
    """Look and send until nothing is due, without time passing."""
    while await driven.engine.look(10) or await driven.engine.send(10):
        pass


def column(driven: Driven, name: str = "i1") -> str:
    return driven.outside.tracker.issues["shop", name].state


async def test_from_the_board_to_done(driven: Driven):
    for name in ("i1", "i2"):
        issue(driven, name)
    await driven.drive()
    tasks = await driven.tasks()
    assert [(task.key, task.phase, task.stage) for task in tasks] == [
        ("SH-1", Phase.DONE, "monitoring"),
        ("SH-2", Phase.DONE, "monitoring"),
    ]
    assert driven.outside.summary() == [[("i1", "done"), ("i2", "done")], {"team/shop:main": 2}, [1, 1], 4, 0]
    shown = [state for name, state in driven.outside.tracker.moves if name == "i1"]
    assert shown[-3:] == ["awaiting-deploy", "monitoring-after-deploy", "done"]


async def test_a_second_run_over_what_is_done_does_nothing(driven: Driven):
    issue(driven)
    await driven.drive()
    before = driven.outside.summary(), len(driven.outside.tracker.moves)
    for _ in range(3):
        await driven.round()
    assert (driven.outside.summary(), len(driven.outside.tracker.moves)) == before
    assert len(await driven.tasks()) == 1


async def test_a_webhook_makes_it_look_at_once_and_a_poll_after_the_grace_period(driven: Driven):
    issue(driven)
    driven.outside.tracker.now = await driven.ledger.now()
    driven.outside.tracker.put(SHOP, "i1")  # changed just now
    await driven.engine.poll()
    await settle(driven)
    assert await driven.tasks() == []
    (waiting,) = await driven.ledger.nudges.all()
    assert waiting.not_before > await driven.ledger.now() + 60
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    assert [task.phase for task in await driven.tasks()] == [Phase.WORKING]


async def test_an_issue_that_cannot_be_read_is_looked_at_if_it_has_a_task_and_holds_up_no_poll(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
):
    issue(driven)
    await driven.engine.poll()
    await settle(driven)

    async def unread(*_: object) -> Listing:
        return Listing((), complete=True, mark=2e6, unread=frozenset({"i1", "i2"}))

    monkeypatch.setattr(FakeTracker, "changed", unread)
    (found,) = await driven.engine.poll()
    assert (found.issues, found.complete) == (("i1",), True)


async def test_a_poll_costs_no_look_at_what_no_task_waits_for(driven: Driven):
    issue(driven, "i1", "approved")
    issue(driven, "i2", "backlog")
    issue(driven, "i3")
    await driven.engine.poll()
    assert [one.issue for one in await driven.ledger.nudges.all()] == ["i3"]
    await driven.ledger.nudges.add("shop", "i3", urgent=True)
    await settle(driven)
    (task,) = await driven.tasks()
    driven.outside.tracker.put(SHOP, "i3", state="backlog")
    await driven.engine.poll()  # it works: only a cancellation would be looked at
    assert await driven.ledger.nudges.all() == []
    driven.outside.tracker.put(SHOP, "i3", state="cancelled")
    await driven.engine.poll()
    assert [one.issue for one in await driven.ledger.nudges.all()] == [task.issue]


async def begun(driven: Driven) -> Job:
    """Bring an issue to where a worker has its first job."""
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    (job,) = await driven.ledger.jobs.claim("w0", 60, most=4)
    await settle(driven)
    return job


async def test_a_board_that_was_read_before_our_move_came_there_is_not_believed(
    db: Any, monkeypatch: pytest.MonkeyPatch
):
    pipeline = Pipeline((Stage("test", "command", shows=Key.IN_PROGRESS, gates=(GateRule("human-verdict"),)),))
    driven = Driven(db, Outside(), pipeline=pipeline)
    job = await begun(driven)
    await driven.ledger.jobs.finish(job, Park("which one?"))
    await settle(driven)
    assert column(driven) == "needs-input"
    await driven.ledger.release(job.task, "ada")
    await driven.engine.look(1)
    (job,) = await driven.ledger.jobs.claim("w0", 60, most=4)
    await driven.engine.look(1)
    assert [item.payload["state"] for item in await driven.ledger.outbox.pending()] == ["in-progress"]
    await driven.ledger.jobs.finish(job, Done())
    real = FakeTracker.get

    async def old(self: FakeTracker, *asked: Any) -> Any:
        found = await real(self, *asked)
        await driven.engine.send(10)  # while the answer is on its way
        return found

    with monkeypatch.context() as patch:
        patch.setattr(FakeTracker, "get", old)
        await driven.engine.look(1)
    await settle(driven)
    (task,) = await driven.tasks()
    assert (task.phase, task.shown, column(driven)) == (Phase.GATED, "needs-input", "needs-input")
    assert driven.outside.tracker.moves[-2:] == [("i1", "in-progress"), ("i1", "needs-input")]


async def test_a_job_that_ended_while_its_project_was_not_configured_is_taken_in_later(driven: Driven):
    job = await begun(driven)
    del driven.projects["shop"]
    await driven.ledger.jobs.finish(job, await driven.work(job))
    await settle(driven)
    (kept,) = await driven.ledger.nudges.all()
    assert kept.not_before > await driven.ledger.now() + 60
    driven.projects["shop"] = SHOP
    await driven.drive()
    assert column(driven) == "done"


async def test_what_is_taken_back_ends_though_its_project_has_left_the_configuration(driven: Driven):
    job = await begun(driven)
    del driven.projects["shop"]
    await driven.ledger.cancel(job.task, "ada")
    await settle(driven)
    assert (await driven.tasks())[0].open  # its job has yet to stop
    assert (await driven.ledger.jobs.heartbeat(job, 60)).stop
    await driven.ledger.jobs.finish(job, Stopped())
    await settle(driven)
    (task,) = await driven.tasks()
    assert (task.phase, task.reason) == (Phase.CANCELLED, "cancelled by ada")


async def test_nudges_of_a_project_that_has_left_the_configuration_do_not_stay_for_ever(driven: Driven):
    job = await begun(driven)
    del driven.projects["shop"]
    await driven.ledger.nudges.add_all("shop", ["i1", "i2"])
    await settle(driven)
    assert sorted(one.issue for one in await driven.ledger.nudges.all()) == ["i1", "i2"]
    await driven.age(86400)
    await settle(driven)
    assert await driven.ledger.nudges.all() == []
    driven.projects["shop"] = SHOP
    await driven.ledger.jobs.finish(job, await driven.work(job))
    await driven.db.write(lambda connection: connection.execute(sa.delete(NUDGES)))
    await driven.drive()
    assert column(driven) == "done"


async def test_issues_that_can_not_be_read_are_told_of_once_and_again_when_they_change(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
):
    both, one = frozenset({"i1", "i2"}), frozenset({"i2"})
    unread = iter((both, both, one, one, frozenset[str](), frozenset[str]()))

    async def listed(*_: object) -> Listing:
        return Listing((), complete=True, mark=2e6, unread=next(unread))

    monkeypatch.setattr(FakeTracker, "changed", listed)
    with structlog.testing.capture_logs() as logs:
        for _ in range(6):
            await driven.engine.poll()
    assert [(line["event"], line.get("issues", "")) for line in logs] == [
        ("issues can't be read", "i1, i2"),
        ("issues can't be read", "i2"),
        ("all issues can be read again", ""),
    ]


async def test_a_poll_looks_at_a_task_whose_job_ended_and_nobody_told(driven: Driven):
    job = await begun(driven)
    await driven.ledger.jobs.finish(job, await driven.work(job))
    await driven.db.write(lambda connection: connection.execute(sa.delete(NUDGES)))
    await driven.drive()
    assert column(driven) == "done"


async def test_a_tracker_that_is_down_never_reads_as_no_work(driven: Driven):
    issue(driven)
    await driven.round()
    (before,) = await driven.tasks()
    driven.outside.tracker.down = True
    for _ in range(3):
        await driven.engine.poll()
        await driven.ledger.nudges.add("shop", "i1", urgent=True)
        await settle(driven)
    (task,) = await driven.tasks()
    assert (task.phase, task.stage) == (before.phase, before.stage)
    (nudge,) = await driven.ledger.nudges.all()
    assert nudge.attempts >= 1
    driven.outside.tracker.down = False
    await driven.drive()
    assert column(driven) == "done"


@pytest.mark.parametrize("error", [TrackerFailed("down"), KeyError("a bug in an adapter")])
async def test_a_poll_of_one_project_that_fails_does_not_stop_the_others(
    driven: Driven, error: Exception, monkeypatch: pytest.MonkeyPatch
):
    issue(driven)
    first = Project("first", "p0", "team/first", "FI")
    driven.projects = {"first": first, "shop": SHOP}
    driven.engine = driven.new_engine(DEFAULT)
    changed = FakeTracker.changed

    async def failing(self: FakeTracker, project: Project, *asked: Any) -> Any:
        if project.name == "first":
            raise error
        return await changed(self, project, *asked)

    monkeypatch.setattr(FakeTracker, "changed", failing)
    await driven.engine.poll()  # raises nothing
    assert [one.issue for one in await driven.ledger.nudges.all()] == ["i1"]


async def test_a_board_that_could_not_be_read_is_listed_whole_once_it_can(driven: Driven):
    issue(driven)
    driven.outside.tracker.now += 10_000  # the last change of all is long after it
    issue(driven, "i2", "backlog")
    driven.outside.tracker.fail_next = 1  # reading the columns
    await driven.engine.poll()
    assert await driven.ledger.nudges.all() == []
    driven.engine = replace_states(driven)
    await driven.drive()
    assert column(driven) == "done"


def replace_states(driven: Driven) -> Any:
    """Let the states cache's pause after a failure be over."""
    driven.engine._around.states.clear()
    return driven.engine


async def test_answers_that_are_lost_change_nothing(driven: Driven):
    issue(driven)
    for _ in range(12):
        driven.outside.tracker.lose_next = 2
        await driven.round()
    await driven.drive()
    assert driven.outside.summary() == [[("i1", "done")], {"team/shop:main": 1}, [1], 2, 0]


async def test_a_person_who_moved_the_issue_meanwhile_is_left_in_peace(driven: Driven):
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    while await driven.engine.look():
        pass
    issue(driven, state="backlog")
    await settle(driven)
    assert column(driven) == "backlog"
    assert driven.outside.tracker.moves == []


async def test_a_column_that_the_tracker_refuses_is_given_up(driven: Driven):
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await driven.engine.look()
    driven.outside.tracker.columns["shop"] = [State("to-analyse", "To Analyse")]
    await driven.engine.send(9)
    assert [item.kind for item in await driven.ledger.outbox.pending()] == []


async def looked(driven: Driven, *names: str) -> None:
    for name in names:
        issue(driven, name)
        await driven.ledger.nudges.add("shop", name, urgent=True)
    while await driven.engine.look(10):
        pass


async def test_one_write_s_trouble_is_not_the_others(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    await looked(driven, "i1", "i2")
    move = FakeTracker.move

    async def broken(tracker: FakeTracker, project: Project, name: str, state: str) -> None:
        if name == "i1":
            raise KeyError("nobody thought of this")
        await move(tracker, project, name, state)

    monkeypatch.setattr(FakeTracker, "move", broken)
    assert await driven.engine.send(10) == 2
    assert (column(driven, "i1"), column(driven, "i2")) == ("to-analyse", "analysis")
    monkeypatch.undo()
    await driven.age(30)  # less than a lease
    assert await driven.engine.send(10) == 1
    assert column(driven, "i1") == "analysis"


async def test_what_is_taken_back_while_another_one_is_sent_is_not_sent(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
):
    await looked(driven, "i1", "i2")
    move = FakeTracker.move

    async def slow(tracker: FakeTracker, project: Project, name: str, state: str) -> None:
        for item in await driven.ledger.outbox.pending():
            if item.issue != name:
                await driven.ledger.outbox.drop(item, "a person moved the issue")
        await move(tracker, project, name, state)

    monkeypatch.setattr(FakeTracker, "move", slow)
    await driven.engine.send(10)
    assert [name for name, _ in driven.outside.tracker.moves] == ["i1"]


async def test_a_comment_approves_too(driven: Driven):
    driven.outside.answer = lambda: None  # type: ignore[method-assign]
    issue(driven)
    for _ in range(4):
        await driven.round()
    (task,) = await driven.tasks()
    assert (task.phase, task.stage) == (Phase.GATED, "analysis")
    driven.outside.tracker.say(SHOP, "i1", "/approve")
    await driven.round()
    await driven.round()
    assert [task.stage for task in await driven.tasks()] == ["development"]


async def test_an_issue_that_was_deleted_parks_its_task(driven: Driven):
    issue(driven)
    await driven.round()
    del driven.outside.tracker.issues["shop", "i1"]
    await driven.round()
    await driven.round()
    (task,) = await driven.tasks()
    assert task.phase is Phase.PARKED
    assert "no such issue any more" in task.reason


async def test_cancelled_on_the_board_ends_the_task(driven: Driven):
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    issue(driven, state="cancelled")
    await driven.engine.poll()
    await settle(driven)
    (task,) = await driven.tasks()
    assert task.phase is Phase.CANCELLED
    assert column(driven) == "cancelled"


async def test_cancelled_by_a_command_shows_on_the_board(driven: Driven):
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    (task,) = await driven.tasks()
    await driven.ledger.cancel(task.id, "ada")
    await settle(driven)
    await driven.round()
    assert (await driven.tasks())[0].phase is Phase.CANCELLED
    assert column(driven) == "cancelled"


@pytest.mark.parametrize(("prefix", "written"), [("SH", "SH"), ("SH", "sh"), ("Shop", "Shop"), ("Shop", "SHOP")])
async def test_a_task_waits_for_those_it_depends_on_and_a_circle_is_told(driven: Driven, prefix: str, written: str):
    shop = driven.projects["shop"] = replace(SHOP, prefix=prefix)
    issue(driven, "i1", labels=frozenset({f"after:{written}-2"}))
    issue(driven, "i2", "backlog")
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    assert f"waits for {prefix}-2 (not begun)" in reason(await driven.engine.why(shop, "i1"))
    issue(driven, "i2", labels=frozenset({f"after:{written}-1"}), state="to-analyse")
    await driven.ledger.nudges.add("shop", "i2", urgent=True)
    await settle(driven)
    tasks = {task.key: task for task in await driven.tasks()}
    assert "waits for it in turn" in tasks[f"{prefix}-2"].reason


@pytest.mark.parametrize("prefix", ["SH", "Shop"])
async def test_a_task_goes_on_once_what_it_waits_for_is_done(driven: Driven, prefix: str):
    driven.projects["shop"] = replace(SHOP, prefix=prefix)
    issue(driven, "i1", labels=frozenset({f"after:{prefix}-2"}))
    issue(driven, "i2")
    await driven.drive()
    assert [task.phase for task in await driven.tasks()] == [Phase.DONE] * 2


async def test_the_end_of_a_task_wakes_those_that_wait_for_it(driven: Driven):
    issue(driven, "i1", labels=frozenset({"after:sh-2"}))
    issue(driven, "i2")
    for name in ("i1", "i2"):
        await driven.ledger.nudges.add("shop", name, urgent=True)
    await settle(driven)
    assert await driven.ledger.nudges.of("shop", "i1") is None  # nobody would look at it before the next poll
    (other,) = [task for task in await driven.tasks() if task.issue == "i2"]
    await driven.ledger.cancel(other.id, "ada")
    await settle(driven)
    (waiting,) = [task for task in await driven.tasks() if task.issue == "i1"]
    assert (waiting.phase, waiting.reason) == (Phase.PARKED, "it waits for SH-2, which was cancelled")


async def test_a_person_may_let_a_task_go_that_waits_for_another(driven: Driven):
    issue(driven, "i1", labels=frozenset({"after:sh-2"}))
    issue(driven, "i2", "backlog")
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    (task,) = await driven.tasks()
    assert task.phase is Phase.READY
    assert (await driven.ledger.release(task.id, "ada")).options.after == ()
    await settle(driven)
    assert (await driven.tasks())[0].phase is Phase.WORKING
    with pytest.raises(Conflict, match="nothing to release"):
        await driven.ledger.release(task.id, "ada")


async def test_a_label_that_names_no_issue_asks_a_person(driven: Driven):
    issue(driven, "i1", labels=frozenset({"after:1"}))
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    (task,) = await driven.tasks()
    assert (task.phase, task.reason) == (
        Phase.PARKED, "it waits for 1, which is no issue's key; one is written as SH-3",
    )  # fmt: skip


async def test_an_issue_of_an_empty_repository_waits_and_goes_on_by_itself_once_its_branch_is_there(driven: Driven):
    driven.outside.forge.empty = True
    issue(driven)
    for _ in range(3):
        await driven.round()
    assert await driven.tasks() == []  # which pipeline it will have nobody knows
    assert "team/shop has no branch main: push main" in reason(await driven.engine.why(SHOP, "i1"))
    driven.outside.forge.empty = False
    await driven.age(300)
    await settle(driven)  # without a poll, and without a word of anybody
    assert (await driven.tasks())[0].phase is Phase.WORKING


async def test_fifty_issues_of_an_empty_repository_wait_without_a_request_and_all_go_on_once_it_is_there(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
):
    driven.outside.forge.empty = True
    names = [f"i{number}" for number in range(50)]
    for name in names:
        issue(driven, name)
    observed, observe = list[str](), FakeForge.observe

    async def counted(forge: FakeForge, project: Project, branch: str, *rest: Any, **more: Any) -> Any:
        observed.append(branch)
        return await observe(forge, project, branch, *rest, **more)

    monkeypatch.setattr(FakeForge, "observe", counted)
    await driven.engine.poll()
    await settle(driven)
    asked = driven.outside.tracker.asked
    asked.clear()
    for number in range(10):
        await driven.ledger.nudges.add("shop", names[number], urgent=True)  # a webhook adds nothing to it
        await driven.round()
    assert (asked.count("get"), len(await driven.ledger.nudges.all())) == (0, 50)
    assert len(observed) <= 25  # one for the first look, then one for each of the prober's, whatever the others do
    driven.outside.forge.empty = False
    await driven.age(61)  # only the prober comes due by that; it wakes the others
    await settle(driven)
    assert {task.issue for task in await driven.tasks()} == set(names)


async def test_tasks_that_wait_for_a_base_branch_are_looked_at_once_more_only_for_what_is_new(driven: Driven):
    names = ["i1", "i2", "i3"]
    for name in names:
        issue(driven, name)
        await driven.ledger.nudges.add("shop", name, urgent=True)
    for name in names:
        found = driven.outside.tracker.issues["shop", name]
        await driven.ledger.create_task(SHOP, found, CreateTask("development", DEFAULT.options([]), "to-analyse"))
    driven.outside.forge.empty = True
    await settle(driven)
    asked = driven.outside.tracker.asked
    asked.clear()
    for _ in range(5):
        await driven.round()
    assert asked.count("get") == 0
    issue(driven, "i2", state="cancelled")
    await driven.round()
    assert asked.count("get") >= 1
    phases = {task.issue: task.phase for task in await driven.tasks()}
    assert phases == {"i1": Phase.READY, "i2": Phase.CANCELLED, "i3": Phase.READY}
    driven.outside.forge.empty = False
    await driven.age(61)
    await settle(driven)
    phases = {task.issue: task.phase for task in await driven.tasks()}
    assert phases == {"i1": Phase.WORKING, "i2": Phase.CANCELLED, "i3": Phase.WORKING}


async def test_when_the_issue_goes_away_for_which_a_base_branch_is_looked_for_another_takes_its_place(driven: Driven):
    driven.outside.forge.empty = True
    for name in ("i1", "i2", "i3"):
        issue(driven, name)
        found = driven.outside.tracker.issues["shop", name]
        await driven.ledger.create_task(SHOP, found, CreateTask("development", DEFAULT.options([]), "to-analyse"))
    await driven.ledger.nudges.add_all("shop", ["i1", "i2", "i3"])
    await settle(driven)
    first, *others = await driven.ledger.nudges.all()  # the prober comes due first
    issue(driven, first.issue, state="cancelled")
    await driven.ledger.nudges.add("shop", first.issue, urgent=True)
    await settle(driven)
    left = await driven.ledger.nudges.all()
    assert [one.issue in {other.issue for other in others} for one in left] == [True, True]
    assert left[1].not_before - left[0].not_before > 60


async def test_the_base_branch_is_asked_for_until_it_was_seen_once(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    asked, observe = list[str](), FakeForge.observe

    async def counted(forge: FakeForge, project: Project, branch: str, *rest: Any, **more: Any) -> Any:
        asked.append(branch)
        return await observe(forge, project, branch, *rest, **more)

    monkeypatch.setattr(FakeForge, "observe", counted)
    await looked(driven, "i1", "i2", "i3")
    assert asked.count("main") == 1


async def test_how_it_ended_is_told_on_the_issue_once_and_a_verdict_that_comes_too_late_is_answered_once(
    driven: Driven,
):
    issue(driven)
    await driven.drive()
    for text in ("thank you", "/approve"):
        driven.outside.tracker.say(SHOP, "i1", text)
    for _ in range(3):
        await driven.ledger.nudges.add("shop", "i1", urgent=True)
        await settle(driven)
    told = [one.text for one in driven.outside.tracker.issues["shop", "i1"].comments if one.ours]
    (end,) = [text for text in told if text.startswith("SH-1 is done.")]
    assert "Approved by" in end
    assert end.endswith("Deployed: shop. It is healthy.")
    assert [text for text in told if "counts for nothing" in text] == [
        "SH-1: the /approve of ada counts for nothing, since it is done."
    ]
    (task,) = await driven.tasks()
    assert (await driven.ledger.events(task.id))[-2:] == ["verdict-not-awaited", "commented"]


async def test_who_moved_an_issue_is_named_where_the_tracker_tells_it(driven: Driven):
    driven.outside.answer = lambda: None  # type: ignore[method-assign]
    issue(driven, moved_by="ada")
    for _ in range(4):
        await driven.round()
    issue(driven, state="approved", moved_by="ben")
    await driven.round()
    (task,) = await driven.tasks()
    said = [one for one in await driven.ledger.history(task) if one.kind == "human-verdict"]
    assert [one.source for one in said] == ["ben"]
    events = await Showing(Books(driven.db)).events(task.id)
    assert [(one.what, one.detail["by"]) for one in events if "by" in one.detail] == [
        ("created", "ada"),
        ("approved", "ben"),
    ]


async def test_a_trouble_is_logged_when_it_begins_changes_and_ends(driven: Driven):
    issue(driven, "i1")
    issue(driven, "i2")
    forge, told = driven.outside.forge, "issues could not be looked at"

    async def round_() -> list[tuple[str, str]]:
        with structlog.testing.capture_logs() as logs:
            await driven.round()
        return [(one["event"], one.get("error", "")) for one in logs]

    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    forge.down = True
    assert (told, "the forge is down") in await round_()
    for _ in range(3):
        assert await round_() == []  # of both issues, since it is the same
    forge.says = "the forge is mended"
    assert await round_() == [(told, "the forge is mended")]
    forge.down = False
    assert [event for event, _ in await round_()] == ["issues can be looked at again"]
    driven.outside.tracker.fail_next = 1
    assert await round_() == [("the tracker could not be polled", "the tracker is down")]
    assert await round_() == [("the tracker is polled again", "")]


def reason(actions: tuple[Any, ...]) -> str:
    (wait,) = actions
    assert isinstance(wait, Wait)
    return wait.reason


async def test_a_board_that_was_read_before_somebody_else_wrote_is_read_again(driven: Driven, db: Any):
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    apply, seen = driven.ledger.apply, driven.outside.tracker.asked

    async def meanwhile(*asked: Any) -> Any:
        applied = await apply(*asked)
        if seen.count("get") == 1:
            await db.write(lambda c: c.execute(sa.update(TASKS).values(version=TASKS.c.version + 1)))
        return applied

    driven.ledger.apply = meanwhile  # type: ignore[method-assign, assignment]
    await driven.engine.look()
    assert seen.count("get") == 2
    assert [task.phase for task in await driven.tasks()] == [Phase.WORKING]


async def test_why_tells_and_does_nothing(driven: Driven):
    issue(driven)
    (would,) = await driven.engine.why(SHOP, "i1")
    assert isinstance(would, CreateTask)
    assert await driven.tasks() == []
    issue(driven, "i2")
    for name in ("i1", "i2"):
        await driven.ledger.nudges.add("shop", name, urgent=True)
    await settle(driven)
    (job,) = await driven.ledger.jobs.claim("w", 60, most=9)
    told = [reason(await driven.engine.why(SHOP, name)) for name in ("i1", "i2")]
    assert f"job {job.id} (analysis, attempt 1) runs" in told
    assert any(one.endswith(f"queued: job {job.id} (analysis) runs in team/shop") for one in told)


async def test_gates_look_at_the_forge(db: Any):
    pipeline = Pipeline((Stage("development", "agent", gates=(GateRule("commit-status"),)), DEFAULT.stages[4]))
    driven = Driven(db, Outside(), pipeline=pipeline)
    issue(driven)
    for _ in range(4):
        await driven.round()
    assert "which is not green" in reason(await driven.engine.why(SHOP, "i1"))
    (sha,) = set(driven.outside.forge.heads.values())
    driven.outside.forge.statuses[sha] = {"ci": "success"}
    await driven.drive()
    assert driven.outside.forge.merged == {"team/shop:main": [sha]}


async def test_a_forge_that_is_down_is_asked_again(driven: Driven):
    issue(driven)
    driven.outside.forge.down = True
    await driven.round()
    await driven.round()
    driven.outside.forge.down = False
    await driven.drive()
    assert column(driven) == "done"


async def test_one_issue_whose_look_fails_does_not_stop_the_others(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    issue(driven, "bad", comments=(Comment("1", "no time", "x"),))  # type: ignore[arg-type]
    issue(driven, "i1")
    read = driven.outside.tracker.get

    async def get(project: Any, ids: Any) -> Any:
        if "bad" in ids:
            raise KeyError("a bug in an adapter")
        return await read(project, ids)

    monkeypatch.setattr(type(driven.outside.tracker), "get", lambda _, project, ids: get(project, ids))
    for name in ("bad", "i1"):
        await driven.ledger.nudges.add("shop", name, urgent=True)
    await settle(driven)
    assert [task.issue for task in await driven.tasks()] == ["i1"]
    assert [(one.issue, one.attempts) for one in await driven.ledger.nudges.all()] == [("bad", 1)]


async def test_a_project_that_is_not_configured_any_more_is_left_alone(driven: Driven):
    await driven.ledger.nudges.add("gone", "i1", urgent=True)
    await settle(driven)
    (kept,) = await driven.ledger.nudges.all()
    assert kept.not_before > await driven.ledger.now() + 60


async def test_a_board_with_other_names_gives_nothing_to_start_from_and_says_so(driven: Driven):
    driven.outside.tracker.columns["shop"] = [State("x", "Elsewhere")]
    issue(driven, state="x")
    assert "does not stand at" in reason(await driven.engine.why(SHOP, "i1"))


async def test_our_own_earlier_move_is_not_taken_for_a_person_s(driven: Driven):
    """It may leave while a look goes on that read the board before it did."""
    driven.outside.tracker.put(SHOP, "i1", state="to-analyse")
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    while await driven.engine.look(10):
        pass
    while await driven.engine.send(10):
        pass
    seen = driven.outside.tracker.issues["shop", "i1"]
    task = await driven.ledger.by_key("SH-1")
    assert task
    assert seen.state == "analysis"
    old = replace(seen, state="to-analyse")  # what a look saw that began before our move left
    show = Show(Key.IN_PROGRESS, "in-progress", old.state, frozenset())
    assert (await driven.ledger.apply(SHOP, old, task, [show])).done
    while await driven.engine.send(10):
        pass
    assert driven.outside.tracker.issues["shop", "i1"].state == "in-progress"
    task = await driven.ledger.by_key("SH-1")
    assert task
    driven.outside.tracker.put(SHOP, "i1", state="backlog")  # and a person's move stays
    assert (await driven.ledger.apply(SHOP, seen, task, [Show(Key.DONE, "done", "analysis", frozenset())])).done
    while await driven.engine.send(10):
        pass
    assert driven.outside.tracker.issues["shop", "i1"].state == "backlog"


async def test_a_board_that_could_not_be_read_is_told_the_end_all_the_same(driven: Driven):
    """The columns are asked for again when the task has ended, until what it came to can be shown."""
    issue(driven)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await settle(driven)
    tracker = driven.outside.tracker
    columns, tracker.columns["shop"] = tracker.columns["shop"], []  # nothing is known of the board from now on
    driven.engine._around.states.clear()
    for _ in range(40):
        await driven.round()
        driven.outside.tracker.say(SHOP, "i1", "/approve")
        await driven.ledger.nudges.add("shop", "i1", urgent=True)
        if not [task for task in await driven.tasks() if task.open]:
            break
    await settle(driven)  # nobody has a further reason to look
    assert [task.phase for task in await driven.tasks()] == [Phase.DONE]
    assert column(driven) != "done"
    tracker.columns["shop"] = columns
    driven.engine._around.states.clear()
    await driven.age(400)
    await settle(driven)
    assert column(driven) == "done"


async def test_no_job_is_started_until_the_circuit_breaker_says_so(driven: Driven):
    at = await driven.ledger.now() + 600
    told = [(at, "no job is started for 600 s: no room")]

    async def paused() -> tuple[float, str]:
        return told[-1]

    driven.engine._around = replace(driven.engine._around, paused=paused)
    issue(driven)
    for _ in range(3):  # whoever is told to look looks, and leaves it
        await driven.ledger.nudges.add("shop", "i1", urgent=True)
        await settle(driven)
    (task,) = await driven.tasks()
    assert (task.phase, await driven.ledger.jobs.of(task.id)) == (Phase.READY, [])
    assert "no job is started for 600 s: no room" in reason(await driven.engine.why(SHOP, "i1"))
    (waiting,) = await driven.ledger.nudges.all()
    assert waiting.not_before == pytest.approx(at), "then somebody looks again, though nobody says so"
    told.append((0.0, ""))
    await driven.age(600)
    await settle(driven)
    assert [job.stage for job in await driven.ledger.jobs.of(task.id)] == ["analysis"]


async def test_the_tracker_is_asked_as_what_it_is_asked_for(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    """By that the rate budget knows who goes first."""
    uses = list[tuple[str, Use | None]]()

    def noting(name: str) -> None:
        real = getattr(FakeTracker, name)

        async def noted(self: FakeTracker, *about: Any) -> Any:
            uses.append((name, _USE.get()))
            return await real(self, *about)

        monkeypatch.setattr(FakeTracker, name, noted)

    for name in ("get", "move", "comment"):
        noting(name)
    issue(driven)
    await driven.engine.poll()
    await driven.engine.look(1)
    assert uses == [("get", Use.READ)], "nobody waits for what a poll found"
    uses.clear()
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    await driven.engine.look(1)
    assert set(uses) == {("get", Use.URGENT)}
    uses.clear()
    (job,) = await driven.ledger.jobs.claim("w0", 60, most=4)
    await driven.ledger.jobs.finish(job, Park("which one?"))
    while await driven.engine.look(1):
        pass
    uses.clear()
    await driven.engine.send(10)
    assert set(uses) == {("get", Use.WRITE), ("move", Use.WRITE), ("comment", Use.WRITE)}
