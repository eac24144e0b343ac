"""Claims, leases, heartbeats, fencing and the reaper, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.delivery.conftest import Aging, open_database

from millpond.delivery.deciding.actions import CreateTask, StartJob, StopJob
from millpond.delivery.ledger.books import Books, Point
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.queue import CANDIDATES, Beat
from millpond.delivery.ledger.tables import COSTS, RUNS
from millpond.delivery.model import (
    Done,
    Evidence,
    Failed,
    Issue,
    Job,
    JobState,
    Options,
    Outcome,
    Park,
    Project,
    Retry,
    Spent,
    Stopped,
    Task,
)

SHOP = Project("shop", "p1", "team/shop", "SH")


async def queued(ledger: Ledger, number: int, repo: str = "team/shop", priority: int = 0, step: str = "agent") -> Task:
    project = replace(SHOP, repo=repo)
    issue = Issue(f"i{number}", "shop", number, "x", "to_analyse", 0.0)
    task, _ = await ledger.create_task(project, issue, CreateTask("a", Options(), "to_analyse"))
    applied = await ledger.apply(project, issue, task, [StartJob("a", step, 1, 60.0, {}, None, None, priority)])
    assert applied.task
    return applied.task


async def claim(ledger: Ledger, worker: str = "w", **more: Any) -> Job | None:
    return next(iter(await ledger.jobs.claim(worker, 60, **{"most": 99, **more})), None)


async def test_the_higher_priority_goes_first_then_the_older(ledger: Ledger):
    tasks = [await queued(ledger, n, f"r{n}", priority) for n, priority in ((1, 0), (2, 0), (3, 9), (4, -1))]
    order = [job.task for _ in range(4) if (job := await claim(ledger))]
    assert order == [tasks[2].id, tasks[0].id, tasks[1].id, tasks[3].id]
    assert await claim(ledger) is None


async def test_a_claim_brings_a_look_forward_that_was_put_off_and_gives_no_other_reason(ledger: Ledger):
    await queued(ledger, 1, "a")
    await queued(ledger, 2, "b")
    await ledger.nudges.add("shop", "i1", after_s=500)
    assert await ledger.nudges.take(60, 10) == []
    assert len(await ledger.jobs.claim("w", 60, most=9, limit=9)) == 2
    # It is no more urgent than it was: who waits for a grace period goes on to.
    assert [(one.issue, one.urgent) for one in await ledger.nudges.take(60, 10)] == [("i1", False)]
    assert len(await ledger.nudges.all()) == 1


async def test_one_job_of_a_repo_runs_and_those_behind_it_are_not_held_up(ledger: Ledger):
    first, second, other = [await queued(ledger, n, repo) for n, repo in ((1, "a"), (2, "a"), (3, "b"))]
    one, two, three = await claim(ledger), await claim(ledger), await claim(ledger)
    assert one
    assert two
    assert (one.task, two.task, three) == (first.id, other.id, None)
    await ledger.jobs.finish(one, Done())
    after = await claim(ledger)
    assert after
    assert after.task == second.id


async def test_no_more_run_than_may(ledger: Ledger):
    for n in range(3):
        await queued(ledger, n + 1, f"r{n}")
    assert [bool(await claim(ledger, most=2)) for _ in range(3)] == [True, True, False]


async def test_a_worker_claims_only_the_steps_that_it_has(ledger: Ledger):
    await queued(ledger, 1, step="deploy")
    assert await claim(ledger, steps=["agent"]) is None
    assert await claim(ledger, steps=["agent", "deploy"])


async def test_many_workers_at_once_never_get_the_same_job_nor_two_of_a_repo(url: str, ledger: Ledger):
    for n in range(24):
        await queued(ledger, n + 1, f"r{n % 6}")
    dbs = [open_database(url) for _ in range(4)]
    workers = [Ledger(Books(db)) for db in dbs]
    done: list[int] = []
    running: set[str] = set()

    async def work(mine: Ledger, name: str) -> None:
        idle = 0
        while idle < 30 and len(done) < 24:
            job = await claim(mine, name)
            if job is None:
                idle += 1
                await asyncio.sleep(0.01)
                continue
            idle = 0
            assert job.repo not in running
            running.add(job.repo)
            await asyncio.sleep(0.002)
            running.discard(job.repo)
            assert await mine.jobs.finish(job, Done())
            done.append(job.id)

    await asyncio.gather(*(work(mine, f"w{n}") for n, mine in enumerate(workers * 2)))
    for db in dbs:
        await db.close()
    assert sorted(done) == sorted(set(done))
    assert len(done) == 24


async def test_a_heartbeat_keeps_the_lease_and_is_told_when_it_is_lost(ledger: Ledger, age: Aging):
    await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    await age(50)
    assert await ledger.jobs.heartbeat(job, 60) == Beat(kept=True)
    await age(50)
    assert await ledger.jobs.reap() == []
    await age(20)
    assert [lost.id for lost in await ledger.jobs.reap()] == [job.id]
    assert await ledger.jobs.heartbeat(job, 60) == Beat(kept=False)


async def test_only_a_heartbeat_makes_a_worker_look_alive(ledger: Ledger, age: Aging):
    task = await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    await age(61)
    issue = Issue("i1", "shop", 1, "x", "to_analyse", 0.0)
    await ledger.apply(SHOP, issue, task, [StopJob(job.id, "cancelled")])  # writes the job's row
    assert [lost.id for lost in await ledger.jobs.reap()] == [job.id]


async def test_who_lost_the_job_can_not_end_it_but_what_it_spent_is_counted(ledger: Ledger, age: Aging):
    task = await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    await age(61)
    (lost,) = await ledger.jobs.reap()
    assert not await ledger.jobs.finish(
        job, Done(sha="b" * 40, evidence=(Evidence("tests", {}, "b"),), spent=Spent(2.0, 9))
    )
    (after,) = await ledger.jobs.of(task.id)
    assert (after.state, after.sha, lost.id) == (JobState.LOST, "", job.id)
    assert "was not heard of" in after.reason
    assert await ledger.evidence(task) == []
    assert (await ledger.spend(task)).task_usd == 2.0
    assert not await ledger.jobs.finish(job, Done(spent=Spent(2.0, 9)))
    assert (await ledger.spend(task)).task_usd == 2.0  # once


async def test_an_older_fencing_token_is_refused(ledger: Ledger):
    await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    assert not await ledger.jobs.finish(replace(job, fence=job.fence - 1), Done())
    assert await ledger.jobs.finish(job, Done())
    assert not await ledger.jobs.finish(job, Done())


async def test_a_lease_beyond_what_was_granted_is_over(ledger: Ledger, age: Aging):
    await queued(ledger, 1)
    await claim(ledger)
    await age(-86400)  # the database's clock was set back by a day
    assert len(await ledger.jobs.reap()) == 1


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Done(sha="c" * 40), JobState.SUCCEEDED, ""),
        (Retry(30.0, "429"), JobState.RETRY, "429"),
        (Retry(30.0, "well so far", not_yet=True), JobState.LATER, "well so far"),
        (Failed("no"), JobState.FAILED, "no"),
        (Park("which?"), JobState.ASKED, "which?"),
        (Stopped(), JobState.CANCELLED, "stopped"),
        (Failed("x" * 9999), JobState.FAILED, "x" * 2000),
    ],
)
async def test_outcomes_are_written_down(ledger: Ledger, outcome: Outcome, state: JobState, reason: str):
    task = await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    assert await ledger.jobs.finish(job, outcome)
    (after,) = await ledger.jobs.of(task.id)
    assert (after.state, after.reason, after.settled) == (state, reason, False)
    assert after.sha == (outcome.sha if isinstance(outcome, Done) else "")
    assert after.after_s == (30.0 if isinstance(outcome, Retry) else 0.0)
    assert [(one.issue, one.urgent) for one in await ledger.nudges.all()] == [("i1", True)]
    assert (await ledger.events(task.id))[-1] == f"job-{state}"


async def test_evidence_of_a_job_is_of_its_visit_whatever_it_says(ledger: Ledger):
    task = await queued(ledger, 1)
    job = await claim(ledger)
    assert job
    await ledger.jobs.finish(job, Done(evidence=(Evidence("tests", {"passed": 1, "failed": 0}, "b", 9e9, 77, "me"),)))
    (kept,) = await ledger.evidence(task)
    assert (kept.visit, kept.source, kept.facts) == (1, f"job {job.id}", {"passed": 1, "failed": 0})
    assert kept.at < 9e9


async def test_each_claim_is_a_run(ledger: Ledger, db: Any):
    await queued(ledger, 1)
    job = await claim(ledger, "worker-7")
    assert job
    await ledger.jobs.finish(job, Done(spent=Spent(1.0)))
    rows = await db.read(lambda connection: connection.execute(sa.select(RUNS)).all())
    assert [(row.job, row.fence, row.worker, row.ended) for row in rows] == [(job.id, 1, "worker-7", "succeeded")]
    assert rows[0].ended_at >= rows[0].started_at
    costs = await db.read(lambda connection: connection.execute(sa.select(COSTS)).all())
    assert [(row.project, row.usd, row.day) for row in costs] == [("shop", 1.0, int(costs[0].at // 86400))]


async def test_the_line_is_shown(ledger: Ledger):
    tasks = [await queued(ledger, n, f"r{n}") for n in (1, 2)]
    await claim(ledger)
    assert [(job.task, job.state) for job in await ledger.jobs.active()] == [
        (tasks[0].id, JobState.RUNNING),
        (tasks[1].id, JobState.QUEUED),
    ]


async def test_several_are_claimed_at_once_and_still_one_of_a_repo(ledger: Ledger):
    for n in range(6):
        await queued(ledger, n + 1, f"r{n % 4}")
    claimed = await ledger.jobs.claim("w", 60, most=3, limit=5)
    assert sorted(job.repo for job in claimed) == ["r0", "r1", "r2"]
    assert [job.repo for job in await ledger.jobs.claim("w", 60, most=9, limit=5)] == ["r3"]
    assert all([await ledger.jobs.finish(job, Done()) for job in claimed])
    assert sorted(job.repo for job in await ledger.jobs.claim("w", 60, most=9, limit=5)) == ["r0", "r1"]


async def test_a_long_line_behind_a_busy_repo_does_not_hide_the_others(ledger: Ledger):
    for n in range(20):
        await queued(ledger, n + 1, "busy")
    await queued(ledger, 21, "free")
    assert [(await claim(ledger, f"w{n}") or Job(0, 0, "", "", "none", "", "")).repo for n in range(3)] == [
        "busy",
        "free",
        "none",
    ]


async def test_claims_at_once_do_not_run_more_than_is_allowed(db: Any):
    def slow(point: Point, moment: str) -> None:
        if (point, moment) == (Point.CLAIM, "before"):
            time.sleep(0.2)

    ledger = Ledger(Books(db, hook=slow))
    for number in range(2 * (2 + CANDIDATES)):  # so many that the first claim does not lock them all
        await queued(ledger, number, f"r{number}")
    claims = (ledger.jobs.claim(f"w{one}", 60, most=2, limit=2) for one in range(4))
    assert sum(len(jobs) for jobs in await asyncio.gather(*claims)) == 2
