"""What people are told of issues and tasks: why one stands where it stands, and what was done about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.delivering import LOCAL, pushed, until

from millpond.app import boardops, issues, taskops
from millpond.delivery.board.board import Board
from millpond.delivery.deciding.pushes import Unseen
from millpond.delivery.ledger.tables import TASKS
from millpond.delivery.model import Done, Failed, Job, Key, Outcome, Project, Task
from millpond.delivery.ports import ForgeFailed
from millpond.errors import BadRequest, Conflict, NotFound

OFF = "[delivery]\nworker = false\nreconcile = false\n"
PIPELINE = """
[[stages]]
name = "build"
step = "command"
settings = { argv = ["make"] }
on_fail = { back_to = "build", times = 2 }
[[stages]]
name = "test"
step = "command"
settings = { argv = ["make", "test"] }
on_fail = { back_to = "build" }
gates = ["human-verdict"]
"""
Begin = Callable[..., Awaitable[Any]]


async def ask(app: Any, operation: str, **arguments: Any) -> Any:
    return await app.operations[operation](progress=lambda *_: None, **arguments)


@pytest.fixture
def begin(open_pond: Any) -> Begin:
    """Open an application with the embedded board, whose project has its branch with a pipeline."""

    async def opened(pipeline: str = PIPELINE) -> Any:
        app = (await open_pond(LOCAL + OFF)).app
        await pushed(app, pipeline)
        await app.started()
        return app

    return opened


async def test_a_branch_that_is_missing_is_told_at_once_with_no_step_that_does_not_help(open_pond: Any):
    app = (await open_pond(LOCAL + OFF)).app
    await app.started()
    await ask(app, "board_new", title="x", column="To Analyse")

    async def waits() -> bool:
        return app.delivering.engine._bases.holds(app.delivering.projects["shop"], "1")

    await until(waits)
    why = await ask(app, "why", ref="SH-1")
    assert "has no branch main: push main, then a task begins by itself" in why["verdict"]
    assert why["next"] == ""
    for operation in ("task_show", "task_log"):
        with pytest.raises(NotFound, match="there is no task 'sh-1': `millpond why SH-1` says why"):
            await ask(app, operation, task="sh-1")
    with pytest.raises(NotFound, match="there is no task 'XX-1'"):
        await ask(app, "task_show", task="XX-1")


async def test_why_counts_the_nudge_that_is_there(open_pond: Any):
    app = (await open_pond(LOCAL + OFF + "looks = false\n")).app
    await pushed(app)
    made = await ask(app, "board_new", title="x", column="To Analyse")
    assert "grace" not in (await ask(app, "why", ref=made["key"]))["verdict"]
    (nudge,) = await app.delivering.ledger.nudges.take(60)
    await app.delivering.ledger.nudges.done(nudge)
    assert "grace period" in (await ask(app, "why", ref=made["key"]))["verdict"]


@pytest.mark.parametrize("key", ["SH-99", "sh-99", "XX-1"])
async def test_a_dependency_that_the_embedded_board_does_not_have_asks_a_person(begin: Begin, key: str):
    app = await begin()
    await ask(app, "board_new", title="x", labels=[f"after:{key}"], column="To Analyse")
    text = await said(app, "SH-1", "is parked")
    assert f"it waits for {key.upper()}, which does not exist" in text
    await ask(app, "task_release", task="SH-1")  # a person may say that it goes on all the same
    await work(app, Done("a" * 40))


async def test_a_dependency_that_has_not_begun_is_waited_for(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x")
    await ask(app, "board_new", title="y", labels=["after:SH-1"], column="To Analyse")

    async def waits() -> bool:
        return "waits for SH-1 (not begun)" in (await ask(app, "why", ref="SH-2"))["verdict"]

    await until(waits)
    assert (await ask(app, "task_show", task="SH-2"))["phase"] == "ready"
    assert await waits_for(app) == {"SH-2": "waits for SH-1"}


async def test_the_list_says_what_each_task_waits_for_without_asking_tracker_or_forge(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    app = await begin()
    await ask(app, "board_new", title="x", labels=["fast"], column="To Analyse")
    await until(partial(line, app, "job 1 is queued"))
    await work(app, Failed("the make failed"))
    await until(partial(line, app, "job 2 is queued; sent back from build (1 of 2): the make failed"))
    await work(app, Done("a" * 40))
    await work(app, Done("a" * 40))
    await until(partial(line, app, "waits for a verdict"))

    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked")

    for one in (app.delivering.bare_tracker, app.delivering.forge):
        for name in ("get", "changed", "states", "observe"):
            if hasattr(one, name):
                monkeypatch.setattr(type(one), name, never)
    assert await waits_for(app) == {"SH-1": "waits for a verdict"}


async def test_a_verdict_says_at_once_what_it_does_and_a_rejection_has_a_reason(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", column="To Analyse")
    told = await ask(app, "board_comment", key="SH-1", text="/approve")
    assert "counts for nothing, since" in told["verdict"]
    await work(app, Done("a" * 40))
    await work(app, Done("a" * 40))
    await until(partial(line, app, "waits for a verdict"))
    assert (await ask(app, "board_comment", key="SH-1", text="fine"))["verdict"] == ""
    assert "no verdict" in (await ask(app, "board_comment", key="SH-1", text="/aprove"))["verdict"]
    with pytest.raises(BadRequest, match="at most 500"):
        await ask(app, "task_verdict", task="SH-1", approved=False, reason="x" * 501)
    await ask(app, "task_verdict", task="SH-1", approved=False, by="ada", reason="the colour is wrong")
    text = "sent back from test (1 of 3): rejected by ada: the colour is wrong"
    assert text in await said(app, "SH-1", "sent back")
    events = await ask(app, "task_events", task="SH-1")
    assert {"by": "ada", "reason": "the colour is wrong"} in [one["detail"] for one in events]
    await until(partial(line, app, f"is queued; {text}"))


async def asked_of(begin: Begin) -> Any:
    """Begin with a task whose commit aaa... waits for a verdict."""
    app = await begin()
    await ask(app, "board_new", title="x", column="To Analyse")
    await work(app, Done("a" * 40))
    await work(app, Done("a" * 40))
    await until(partial(line, app, "waits for a verdict"))
    return app


async def test_a_comment_s_reason_reaches_who_does_it_again_and_a_named_commit_is_the_one_that_waits(begin: Begin):
    app = await asked_of(begin)
    for approved in (True, False):
        with pytest.raises(Conflict, match="SH-1 is at aaaaaaaaaaaa, not at abcdef1: look at what it is at"):
            await ask(app, "task_verdict", task="SH-1", approved=approved, commit="abcdef1")
    told = await ask(app, "board_comment", key="SH-1", text="/approve once it is green")
    assert "since the words around it may say yes or no" in told["verdict"]
    assert "/approve aaaaaaaaaaaa before the words" in await said(app, "SH-1", "may say yes or no")
    await until(partial(line, app, "waits for a verdict"))
    await ask(app, "board_comment", key="SH-1", text="/reject the colour is wrong", by="ada")
    text = "sent back from test (1 of 3): rejected by ada: the colour is wrong"
    assert text in await said(app, "SH-1", "sent back")
    (event,) = [one for one in await ask(app, "task_events", task="SH-1") if one["what"] == "rejected"]
    assert (event["detail"]["by"], event["detail"]["reason"]) == ("ada", "the colour is wrong")
    await work(app, Done("b" * 40))
    await work(app, Done("b" * 40))
    await until(partial(line, app, "waits for a verdict"))
    await ask(app, "task_verdict", task="SH-1", approved=True, commit="BBBBBBB")


async def test_a_verdict_counts_though_the_forge_can_t_say_what_was_pushed(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    app = await asked_of(begin)

    async def away(*_: Any, **__: Any) -> Any:
        raise ForgeFailed("it is away")

    monkeypatch.setattr(type(app.delivering.forge), "observe", away)
    told = await ask(app, "task_verdict", task="SH-1", approved=True)
    assert (told["sha"], told["newer"]) == ("a" * 40, None)


async def test_a_verdict_is_refused_where_a_commit_comes_while_the_forge_is_asked(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    app = await asked_of(begin)

    async def slow(app: Any, task: Task) -> None:
        change = sa.update(TASKS).where(TASKS.c.id == task.id).values(sha="b" * 40)
        await app.db.write(lambda connection: connection.execute(change))

    monkeypatch.setattr(taskops, "unseen_push", slow)
    with pytest.raises(Conflict, match="is at bbbbbbbbbbbb, not at aaaaaaaaaaaa"):
        await ask(app, "task_verdict", task="SH-1", approved=True)


async def test_a_comment_s_verdict_is_told_of_the_commit_that_was_pushed_unseen(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    app = await asked_of(begin)
    says = boardops.BoardOperations(app)._verdict  # said only, so that the engine counts none of it meanwhile
    project, again = app.delivering.projects["shop"], ""

    async def newer(*_: Any) -> Unseen:
        return Unseen("b1" * 20, again)

    monkeypatch.setattr(boardops, "unseen_push", newer)
    for text, told in {
        "/approve b1b1b1b2": "it names b1b1b1b2, and SH-1 is at aaaaaaaaaaaa",
        "/approve b1b1b1b": "the approval is looked at now",
        "/reject b1b1b1b1b1b1 no": "the rejection is looked at now",
        "/approve": "b1b1b1b1b1b1 was pushed, and has to be judged: write /approve b1b1b1b1b1b1 for that one",
        "/reject aaaaaaaa no": "write /reject b1b1b1b1b1b1 for that one",
        "fine": "",
    }.items():
        said = await says(project, "1", text)
        assert told in said
        assert bool(told) == bool(said)
    again = "build"
    for text in ("/approve b1b1b1b", "/approve", "/reject no"):
        said = await says(project, "1", text)
        assert "counts for nothing, since b1b1b1b1b1b1 was pushed: build is done again for it" in said


async def test_the_reason_of_one_that_was_sent_back_too_often_is_told_once(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", labels=["fast"], column="To Analyse")
    for _ in range(3):
        await work(app, Failed("no such colour"))
    text = await said(app, "SH-1", "is parked")
    assert text.count("no such colour") == 1

    async def rests() -> bool:
        return "parked" in (await ask(app, "why", ref="SH-1"))["verdict"]

    await until(rests)
    shown, why = await ask(app, "task_show", task="SH-1"), await ask(app, "why", ref="SH-1")
    for told in (shown["reason"], shown["waits"], why["verdict"], (await waits_for(app))["SH-1"]):
        assert (told.count("no such colour"), told.count("sent back")) == (1, 1), told


async def test_drift_names_an_issue_that_a_person_moved_and_that_is_left_there(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", column="To Analyse")
    await work(app, Done("a" * 40))
    await work(app, Done("a" * 40))

    async def shown() -> bool:
        pending = await app.delivering.ledger.outbox.pending()
        return not pending and (await ask(app, "board_show", key="SH-1"))["column"] == "Needs Input"

    await until(partial(line, app, "waits for a verdict"))
    await until(shown)
    assert (await ask(app, "drift"))["drift"] == []
    await ask(app, "board_move", key="SH-1", column="Backlog", by="ada")

    async def looked() -> bool:
        return not await app.delivering.ledger.nudges.all()

    await until(looked)
    (row,) = (await ask(app, "drift"))["drift"]
    text = "it stands at Backlog, and would be at Needs Input: a person moved it, so it is left there"
    assert (row["key"], row["between"], row["told"]) == ("SH-1", "board", text)
    assert (await ask(app, "board_show", key="SH-1"))["column"] == "Backlog"


async def test_labels_are_changed_by_command(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", labels=["hotfx"])
    assert (await ask(app, "board_label", key="SH-1", add=["hotfix"], remove=["hotfx"]))["labels"] == ["hotfix"]
    with pytest.raises(BadRequest, match="write --add LABEL"):
        await ask(app, "board_label", key="SH-1")


async def test_what_labels_set_is_in_the_events_and_on_the_task(begin: Begin):
    app = await begin(PIPELINE + '[labels.hotfix]\nskip = ["build"]\npriority = 10\n')
    await ask(app, "board_new", title="x", labels=["hotfix"], column="To Analyse")
    await work(app, Done("a" * 40))
    text = "skips build, priority 10"
    events = await ask(app, "task_events", task="SH-1")
    assert events[0]["detail"]["labels"] == f"hotfix: {text}"
    assert (await ask(app, "task_show", task="SH-1"))["sets"] == text


async def work(app: Any, outcome: Outcome) -> Job:
    """Have the next job end so, and be taken into its task."""

    async def claimed() -> list[Job]:
        return list(await app.delivering.ledger.jobs.claim("w", 60, most=4))

    (job,) = await until(claimed)
    await app.delivering.ledger.jobs.finish(job, outcome)

    async def settled() -> bool:
        jobs = await app.delivering.ledger.jobs.of(job.task)
        return any(one.id == job.id and one.settled for one in jobs)

    await until(settled)
    return job


async def waits_for(app: Any) -> dict[str, str]:
    return {one["key"]: one["waits"] for one in await ask(app, "task_ls")}


async def line(app: Any, text: str) -> bool:
    return any(text in one for one in (await waits_for(app)).values())


async def said(app: Any, key: str, word: str) -> str:
    """Wait until a comment with some words is on an issue, and give it."""

    async def found() -> str:
        shown = await ask(app, "board_show", key=key)
        return next((one["text"] for one in shown["comments"] if word in one["text"]), "")

    return await until(found)


async def test_that_a_task_was_sent_back_is_told_until_it_comes_further(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", column="To Analyse")
    await work(app, Done("a" * 40))
    await work(app, Failed("the tests are red."))
    text = "sent back from test (1 of 3): the tests are red."
    assert await said(app, "SH-1", "sent back") == f"SH-1 is {text} build is done again."

    async def queued() -> bool:
        return bool(await app.delivering.ledger.jobs.active())

    await until(queued)
    assert text in (await ask(app, "why", ref="SH-1"))["verdict"]
    assert text in (await ask(app, "task_show", task="SH-1"))["waits"]
    await work(app, Done("b" * 40))
    await until(queued)
    assert "sent back" not in (await ask(app, "why", ref="SH-1"))["verdict"]


@pytest.mark.parametrize(
    ("known", "has"),
    [
        (Board(), True),
        (Board({Key.DONE: "d"}, {"d": "completed"}), False),
        (Board({Key.APPROVED: "a", Key.REJECTED: "r"}, {"a": "started", "r": "started"}), True),
    ],
)
async def test_a_move_is_advised_unless_the_board_is_known_to_have_no_such_columns(known: Board, has: bool):
    project = Project("shop", "b", "team/shop", "SH")

    async def board(_: Project) -> Board:
        return known

    app = SimpleNamespace(delivering=SimpleNamespace(states=SimpleNamespace(board=board)))
    assert await issues._has_columns(app, project) is has  # type: ignore[arg-type]
