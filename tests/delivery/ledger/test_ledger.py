"""The ledger's rules, on SQLite and on a real PostgreSQL: tasks, decisions carried out, people's orders."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from tests.delivery.conftest import Aging, open_database

from millpond.delivery.deciding.actions import (
    Alert,
    CreateTask,
    Finish,
    ParkTask,
    PassOn,
    Show,
    StartJob,
    Succeed,
    Tell,
    TryAgain,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.gates import Ruling, Word
from millpond.delivery.ledger.applying import OWED_S
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import GATES, JOBS, TASKS
from millpond.delivery.model import (
    Budget,
    Done,
    Input,
    Issue,
    JobState,
    Key,
    Options,
    Phase,
    Project,
    Spend,
    Spent,
    Stopped,
    Task,
)
from millpond.delivery.pipeline import GateRule
from millpond.errors import BadRequest, Conflict, NotFound

SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
ISSUE = Issue("i1", "shop", 12, "Ship it, now!", "to_analyse", 1000.0)
OPTIONS = Options(frozenset({"review"}), 5, 7.5, ("SH-3",), {"model": "large"})
START = CreateTask("analysis", OPTIONS, "to_analyse")
JOB = StartJob("analysis", "agent", 1, 60.0, {"prompt": "x"}, 2.5, 100, 5)


async def begun(ledger: Ledger, issue: Issue = ISSUE, project: Project = SHOP) -> Task:
    task, created = await ledger.create_task(project, issue, replace(START, options=Options()))
    assert created
    return task


async def do(ledger: Ledger, task: Task, *actions: Any) -> Task:
    applied = await ledger.apply(SHOP, replace(ISSUE, id=task.issue), task, actions)
    assert applied.done
    assert applied.task
    return applied.task


async def test_a_task_is_read_as_it_was_written(ledger: Ledger):
    task, created = await ledger.create_task(SHOP, ISSUE, START)
    assert created
    assert (task.key, task.branch, task.options) == ("SH-12", "feature/SH-12-ship-it-now", OPTIONS)
    assert (task.phase, task.stage, task.used, task.shown) == (Phase.READY, "analysis", Input.START, "to_analyse")
    assert await ledger.task(task.id) == await ledger.last_task("shop", "i1") == await ledger.by_key("SH-12") == task
    assert await ledger.open_tasks("shop") == [task]
    assert abs(task.created_at - await ledger.now()) < 60


async def test_eight_creations_at_once_give_one_task_and_one_created(ledger: Ledger):
    found = await asyncio.gather(*(ledger.create_task(SHOP, ISSUE, START) for _ in range(8)))
    assert sorted(created for _, created in found) == [False] * 7 + [True]
    assert len({task for task, _ in (found[0], *found) if not isinstance(task.options.settings, dict)}) == 0
    assert len({task.id for task, _ in found}) == 1
    assert all(task == found[0][0] for task, _ in found)


async def test_eight_threads_with_databases_of_their_own_too(url: str, db: Any):
    results: list[tuple[int, bool]] = []
    line = threading.Barrier(8)

    async def one() -> None:
        mine = open_database(url)
        line.wait(60)
        task, created = await Ledger(Books(mine)).create_task(SHOP, ISSUE, START)
        results.append((task.id, created))
        await mine.close()

    threads = [threading.Thread(target=lambda: asyncio.run(one())) for _ in range(8)]
    await asyncio.to_thread(lambda: ([t.start() for t in threads], [t.join(60) for t in threads]))
    assert len(results) == 8
    assert len({task for task, _ in results}) == 1
    assert sum(created for _, created in results) == 1


async def test_eight_processes_too(url: str, db: Any):
    code = textwrap.dedent(
        """
        import asyncio, sys
        from tests.delivery.conftest import open_database
        from tests.delivery.ledger.test_ledger import ISSUE, SHOP, START
        from millpond.delivery.ledger.books import Books
        from millpond.delivery.ledger.ledger import Ledger
        async def main():
            db = open_database(sys.argv[1])
            print("ready", flush=True); sys.stdin.readline()
            task, created = await Ledger(Books(db)).create_task(SHOP, ISSUE, START)
            print(task.id, created, flush=True); await db.close()
        asyncio.run(main())
        """
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code, url], **pipes) for _ in range(8)]  # type: ignore[call-overload]
    assert [one.stdout.readline() for one in started] == ["ready\n"] * 8
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [one.communicate(timeout=60)[0].split() for one in started]
    assert len({task for task, _ in told}) == 1
    assert sorted(created for _, created in told) == ["False"] * 7 + ["True"]


async def test_an_issue_whose_task_has_ended_may_have_another(ledger: Ledger):
    first = await begun(ledger)
    ended = await do(ledger, first, JOB, Succeed(1, "", (0.0, "")), Finish("good"))
    assert ended.phase is Phase.DONE
    second = await begun(ledger)
    assert second.id > first.id
    assert (await ledger.last_task("shop", "i1")) == second


async def test_a_decision_about_a_ledger_that_moved_on_is_not_carried_out(ledger: Ledger):
    task = await begun(ledger)
    after = await do(ledger, task, JOB)
    assert after.version == task.version + 1
    applied = await ledger.apply(SHOP, ISSUE, task, [JOB])
    assert not applied.done
    assert len(await ledger.jobs.of(task.id)) == 1
    assert not (await ledger.apply(SHOP, ISSUE, None, [START])).done


async def test_of_two_who_decided_the_same_one_is_first(ledger: Ledger):
    task = await begun(ledger)
    found = await asyncio.gather(*(ledger.apply(SHOP, ISSUE, task, [JOB]) for _ in range(6)))
    assert sorted(one.done for one in found) == [False] * 5 + [True]
    assert len(await ledger.jobs.of(task.id)) == 1


async def test_what_may_not_happen_leaves_nothing_behind(ledger: Ledger):
    task = await begun(ledger)
    with pytest.raises(ValueError, match="cannot be"):
        await ledger.apply(SHOP, ISSUE, task, [JOB, Tell("x", "k"), PassOn("development", "")])
    assert await ledger.last_task("shop", "i1") == task
    assert await ledger.jobs.of(task.id) == []
    assert await ledger.outbox.pending() == []


async def test_waiting_changes_nothing(ledger: Ledger):
    task = await begun(ledger)
    assert await do(ledger, task, Wait("nothing to do")) == task


async def test_a_decision_writes_job_evidence_and_outbox(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    (job,) = await ledger.jobs.of(task.id)
    assert (job.stage, job.step, job.attempt, job.settings, job.usd, job.turns, job.priority, job.state) == (
        *("analysis", "agent", 1, {"prompt": "x"}, 2.5, 100, 5, JobState.QUEUED),
    )
    task = await do(ledger, task, Succeed(job.id, "a" * 40, (3.0, "c1")))
    assert (task.sha, task.mark) == ("a" * 40, (3.0, "c1"))
    assert (await ledger.jobs.of(task.id))[0].settled
    task = await do(ledger, task, UseVerdict(True, "ada", (4.0, "c2"), "approved"), Alert("look", "a"), Tell("hi", "t"))
    (said,) = await ledger.evidence(task)
    assert (said.kind, said.facts, said.sha, said.visit) == (
        "human-verdict",
        {"approved": True, "by": "ada"},
        "a" * 40,
        1,
    )
    assert [(item.kind, item.payload) for item in await ledger.outbox.pending()] == [
        ("alert", {"text": "look"}),
        ("comment", {"text": "hi"}),
    ]
    assert (await ledger.events(task.id))[:2] == ["created", "job-queued"]


async def test_gates_are_written_down_for_people(ledger: Ledger, db: Any):
    task = await begun(ledger)
    for word in (Word.WAITING, Word.PASSED):
        rulings = ((GateRule("health"), Ruling(word, "because")),)
        await ledger.apply(SHOP, ISSUE, task, [Wait("x")], rulings)
    rows = await db.read(lambda connection: connection.execute(sa.select(GATES.c.gate, GATES.c.word)).all())
    assert [tuple(row) for row in rows] == [("0:health", "passed")]


# what the database itself refuses


async def insert_again(db: Any, table: sa.Table, **changes: Any) -> None:
    def write(connection: sa.Connection) -> None:
        row = dict(connection.execute(sa.select(table)).mappings().first() or {})
        row.pop("id")
        connection.execute(sa.insert(table).values(**{**row, **changes}))

    await db.write(write)


async def test_the_database_refuses_a_second_open_task(ledger: Ledger, db: Any):
    await begun(ledger)
    with pytest.raises(IntegrityError):
        await insert_again(db, TASKS)
    await insert_again(db, TASKS, phase="done")


async def test_the_database_refuses_a_second_running_job_of_a_repo_and_of_a_task(ledger: Ledger, db: Any):
    await do(ledger, await begun(ledger), JOB)
    await ledger.jobs.claim("w", 60, most=9)
    with pytest.raises(IntegrityError):
        await insert_again(db, JOBS, dedup_key="another")
    with pytest.raises(IntegrityError):
        await insert_again(db, JOBS, repo="another", state="queued")
    await insert_again(db, JOBS, dedup_key="another", repo="another")


# what people order


async def parked(ledger: Ledger) -> Task:
    return await do(ledger, await begun(ledger), ParkTask("spent", Key.NEEDS_INPUT))


async def test_a_person_releases_with_another_budget_and_the_issue_is_looked_at(ledger: Ledger):
    task = await ledger.release((await parked(ledger)).id, "ada", task_usd=50.0)
    assert (task.phase, task.visit, task.options.task_usd) == (Phase.READY, 2, 50.0)
    assert await ledger.last_task("shop", "i1") == task
    assert [(one.issue, one.urgent) for one in await ledger.nudges.all()] == [("i1", True)]
    with pytest.raises(Conflict, match="nothing to release"):
        await ledger.release(task.id, "ada")
    with pytest.raises(NotFound):
        await ledger.release(999, "ada")
    for usd in (0.0, -1.0, 1e9, float("nan"), float("inf")):
        with pytest.raises(BadRequest):
            await ledger.release(task.id, "ada", task_usd=usd)


async def test_a_budget_that_is_spent_already_is_refused(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Done("a" * 40, spent=Spent(2.7)))
    task = await do(ledger, task, ParkTask("spent", Key.NEEDS_INPUT, job.id))
    for usd in (1.0, 2.7):
        with pytest.raises(BadRequest, match=r"SH-12 has spent 2.70 USD already.* more than 2.70"):
            await ledger.release(task.id, "ada", task_usd=usd)
    found = await ledger.task(task.id)
    assert found
    assert (found.phase, found.options.task_usd) == (Phase.PARKED, None)
    assert (await ledger.release(task.id, "ada", task_usd=2.71)).phase is Phase.READY


async def test_a_person_parks_what_has_no_job(ledger: Ledger):
    task = await ledger.park((await begun(ledger)).id, "ada", "hold it")
    assert (task.phase, task.reason, task.parked_as) == (Phase.PARKED, "hold it (ada)", Key.NEEDS_INPUT)
    with pytest.raises(Conflict):
        await ledger.park(task.id, "ada", "again")
    (told,) = await ledger.outbox.pending()
    assert str(told.payload["text"]).startswith("SH-12 is parked by ada: hold it.")
    for reason in ("", "x" * 501):
        with pytest.raises(BadRequest):
            await ledger.park(task.id, "ada", reason)


async def test_a_person_cancels_and_the_job_is_asked_to_stop(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    (running,) = await ledger.jobs.claim("w", 60, most=9)
    asked = await ledger.cancel(task.id, "ada")
    assert (asked.cancelling, asked.version) == ("ada", task.version + 1)
    assert (await ledger.jobs.heartbeat(running, 60)).stop
    assert not (await ledger.apply(SHOP, ISSUE, task, [Wait("x")])).done  # what was decided before is void


async def test_a_queued_job_of_a_cancelled_task_never_runs(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    await ledger.cancel(task.id, "ada")
    assert await ledger.jobs.claim("w", 60, most=9) == []
    assert (await ledger.jobs.of(task.id))[0].state is JobState.CANCELLED


async def test_a_person_gives_a_verdict_by_command(ledger: Ledger):
    task = await begun(ledger)
    with pytest.raises(Conflict, match="waits at no gate"):
        await ledger.say(task.id, "ada", approved=True)
    task = await do(ledger, task, JOB, Succeed(1, "a" * 40, (0.0, "")))
    await ledger.say(task.id, "ada", approved=False)
    (said,) = await ledger.evidence(task)
    assert (said.facts, said.sha) == ({"approved": False, "by": "ada"}, "a" * 40)
    after = await ledger.task(task.id)
    assert after
    assert (after.used, after.inputs) == (Input.VERDICT, task.inputs + 1)  # whatever column says so, too


async def test_a_verdict_by_command_is_refused_where_nobody_waits_for_a_person(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    task = await do(ledger, task, Succeed(1, "a" * 40, (0.0, "")))
    status, human = GateRule("commit-status"), GateRule("human-verdict")
    waits, passed = Ruling(Word.WAITING, "not yet"), Ruling(Word.PASSED, "approved by ben")
    for rulings in ([(status, waits)], [(status, waits), (human, passed)]):
        await ledger.apply(SHOP, ISSUE, task, [Wait("x")], rulings)
        with pytest.raises(Conflict, match="waits for no person's verdict"):
            await ledger.say(task.id, "ada", approved=False)
        assert await ledger.task(task.id) == task
        assert await ledger.evidence(task) == []
    await ledger.apply(SHOP, ISSUE, task, [Wait("x")], [(status, passed), (human, waits)])
    await ledger.say(task.id, "ada", approved=False)
    assert len(await ledger.evidence(task)) == 1


async def test_spending_counts_the_task_the_day_and_what_is_promised(ledger: Ledger):
    task = await do(ledger, await begun(ledger), JOB)
    other = await begun(ledger, replace(ISSUE, id="i2", number=13), SHOP)
    assert (await ledger.spend(task)).promised_usd == 2.5
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Done(spent=Spent(1.25, 7)))
    assert await ledger.spend(task) == replace(await ledger.spend(other), task_usd=1.25)
    assert (await ledger.spend(other)).day_usd == 1.25
    assert (await ledger.spend(task)).promised_usd == 0


@pytest.mark.parametrize("told", [Spent(1.25, 7), Spent()], ids=["its cost", "that it cost nothing"])
@pytest.mark.parametrize("by", ["its worker", "who ended its run"])
async def test_what_a_lost_job_may_have_spent_is_promised_until_it_is_counted(
    ledger: Ledger, age: Aging, told: Spent, by: str
):
    task = await do(ledger, await begun(ledger), JOB)
    other = await begun(ledger, replace(ISSUE, id="i2", number=13), SHOP)
    foreign = await begun(ledger, replace(ISSUE, id="i3", number=14), replace(SHOP, name="till"))
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await age(61)
    assert await ledger.jobs.reap()
    assert await ledger.spend(task) == Spend(0.0, 0.0, 2.5, 2.5)
    assert await ledger.spend(other) == Spend(0.0, 0.0, 2.5, 0.0)
    assert await ledger.spend(foreign) == Spend()
    claim = job if by == "its worker" else replace(job, fence=-job.fence)
    assert not await ledger.jobs.finish(claim, Stopped(told))
    assert await ledger.spend(task) == Spend(told.usd, told.usd)


async def test_who_never_says_what_a_lost_job_cost_is_not_waited_for_for_ever(ledger: Ledger, age: Aging):
    task = await do(ledger, await begun(ledger), JOB)
    await ledger.jobs.claim("w", 60, most=9)
    await age(61)
    await ledger.jobs.reap()
    await age(OWED_S + 1)
    assert await ledger.spend(task) == Spend()


async def test_the_money_of_a_lost_job_is_not_granted_again(ledger: Ledger, age: Aging):
    task, other = await begun(ledger), await begun(ledger, replace(ISSUE, id="i2", number=13))
    dear = replace(JOB, usd=10.0, budget=Budget(10.0, 15.0, 15.0))
    task = await do(ledger, task, dear)
    await ledger.jobs.claim("w", 60, most=9)
    await age(61)
    await ledger.jobs.reap()
    assert not (await ledger.apply(SHOP, replace(ISSUE, id=other.issue), other, [dear])).done
    again = await do(ledger, await again_of(ledger, task), TryAgain(1, 0.0, "it was lost"))
    assert not (await ledger.apply(SHOP, ISSUE, again, [replace(dear, budget=Budget(10.0, 15.0, None))])).done
    assert (await ledger.apply(SHOP, ISSUE, again, [replace(dear, usd=5.0)])).done


async def again_of(ledger: Ledger, task: Task) -> Task:
    found = await ledger.task(task.id)
    assert found
    return found


async def test_looks_at_once_are_not_granted_the_same_money(ledger: Ledger):
    tasks = [await begun(ledger, replace(ISSUE, id=f"b{number}", number=number)) for number in range(6)]
    dear = replace(JOB, usd=10.0, budget=Budget(10.0, 25.0, 25.0))
    found = await asyncio.gather(*(ledger.apply(SHOP, replace(ISSUE, id=one.issue), one, [dear]) for one in tasks))
    assert sum(one.done for one in found) == 2
    assert (await ledger.spend(tasks[0])).promised_usd == 20.0
    assert [one.task for one in found if not one.done] == [
        one for one, applied in zip(tasks, found, strict=True) if not applied.done
    ], "nothing was done to the others"
    rest = next(one for one, applied in zip(tasks, found, strict=True) if not applied.done)
    assert (await ledger.apply(SHOP, replace(ISSUE, id=rest.issue), rest, [replace(dear, usd=5.0)])).done


async def test_counts_name_every_state(ledger: Ledger):
    await do(ledger, await begun(ledger), JOB)
    assert (await ledger.counts()) == {str(state): int(state is JobState.QUEUED) for state in JobState}


async def test_a_move_in_the_outbox_keeps_what_the_confirmation_needs(ledger: Ledger):
    task = await do(
        ledger,
        await begun(ledger),
        Show(Key.ANALYSIS, "analysis", "to_analyse", frozenset({Input.START, Input.VERDICT})),
    )
    (item,) = await ledger.outbox.pending()
    assert item.payload == {
        "key": "analysis",
        "state": "analysis",
        "seen": ["to_analyse"],
        "clears": ["start", "verdict"],
        "inputs": 1,
    }
    await ledger.outbox.confirm(item)
    after = await ledger.last_task("shop", "i1")
    assert after
    assert (after.used, after.version) == (Input.NONE, task.version + 1)
