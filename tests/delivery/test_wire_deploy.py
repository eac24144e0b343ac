"""The contract, part B, on the wire: what the board shows from the merge to the end, and who is told of a bad end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.delivery.wired import FINE, PIPELINE, PLAIN, SHOP, Wired, wired

from millpond.delivery.model import Key, Phase
from millpond.delivery.pipeline import Backoff, GateRule, OnFail, Pipeline, Stage, Then
from millpond.delivery.steps.base import Deployed, Out, StepFailed, Watch, Wellness, Work

FOR_S = 600.0
FINEST = (*FINE, ("Awaiting Deploy", "started"), ("Deploying", "started"), ("Monitoring after Deploy", "started"))
WITH_APP = replace(SHOP, app="shop")
OWN = replace(WITH_APP, own=True)


@dataclass
class Hosts:
    """Hosts that do at once what they are told, and are as well as the test says."""

    well: bool = True
    away_s: float | None = None
    """They can't be reached: when to try again."""
    brought: list[str] = field(default_factory=list)
    looks: int = 0
    rolled_back: int = 0

    async def out(self, _: Work) -> Out | None:
        return Out(1, self.brought[-1]) if self.brought else None

    async def deploy(self, work: Work, _: Mapping[str, str]) -> Deployed:
        if self.away_s is not None:
            raise StepFailed("web1: no route to host", after_s=self.away_s)
        self.brought.append(work.job.sha)
        return Deployed(True, "release 1 of shop", 1)

    async def look(self, _: Work) -> Watch:
        self.looks += 1
        since_s = FOR_S * (self.looks - 1)
        return Watch(Wellness.HEALTHY, "", since_s) if self.well else Watch(Wellness.DEGRADED, "web: exited", since_s)

    async def roll_back(self, _: Work) -> str:
        self.rolled_back += 1
        return "rolled back to release 1"


def pipeline(**monitoring: Any) -> Pipeline:
    settings = {"for_s": FOR_S, "every_s": 30, **monitoring}
    deploy = Stage("deploy", "deploy", gates=(GateRule("deploy-converged"),), on_fail=OnFail(Then.BLOCK),
                   queued=Key.AWAITING_DEPLOY, shows=Key.DEPLOYING)  # fmt: skip
    monitor = Stage("monitoring", "monitor", settings, (GateRule("health"),), 100, Backoff(30, 1, 30),
                    on_fail=OnFail(Then.BLOCK), shows=Key.MONITORING)  # fmt: skip
    return replace(PIPELINE, stages=(*PIPELINE.stages, deploy, monitor))


@asynccontextmanager
async def shipped(
    db: Any, hosts: Hosts, fine: Any = FINEST, project: Any = WITH_APP, **monitoring: Any
) -> AsyncIterator[tuple[Wired, str]]:
    """Take an issue to the gate before the merge, and approve it there."""
    async with wired(db, fine, registry=(project,), pipeline=pipeline(**monitoring), deployer=hosts) as w:
        issue = w.issue("To Analyse" if fine is FINEST else "In Progress")
        await w.round()
        w.plane.say(SHOP.tracker_project, issue, "/approve")
        yield w, issue


def to_the_merge(w: Wired, issue: str) -> list[str]:
    """Give the moves since the merge began; it is shown as work like any other."""
    moves = w.moves(issue)
    return moves[len(moves) - moves[::-1].index("In Progress") :]


async def test_a_deploy_is_awaited_done_and_watched_on_the_board(db: Any):
    hosts = Hosts()
    async with shipped(db, hosts) as (w, issue):
        await w.round()
        (task,) = await w.tasks()
        assert (task.stage, task.phase) == ("monitoring", Phase.READY)
        assert w.column(issue) == "Monitoring after Deploy", "not Done, as long as it is watched"
        assert hosts.brought == [task.sha], "the commit that was judged"
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert to_the_merge(w, issue) == ["Awaiting Deploy", "Deploying", "Monitoring after Deploy", "Done"]
        assert hosts.rolled_back == 0
        assert w.alerts == []


async def test_a_board_without_these_columns_shows_their_base_states(db: Any):
    async with shipped(db, Hosts(), PLAIN) as (w, issue):
        await w.round()
        assert (await w.tasks())[0].stage == "monitoring"
        assert w.column(issue) == "Done"
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert w.moves(issue) == ["Done"], "In Progress is where a person put it"


async def test_a_degraded_deploy_is_blocked(db: Any):
    hosts = Hosts(well=False)
    async with shipped(db, hosts) as (w, issue):
        await w.round()
        (task,) = await w.tasks()
        assert (task.phase, task.parked_as) == (Phase.PARKED, Key.BLOCKED)
        assert "DEGRADED: web: exited" in task.reason
        assert to_the_merge(w, issue) == ["Awaiting Deploy", "Deploying", "Monitoring after Deploy", "Blocked"]
        assert hosts.rolled_back == 0, "that is for a person to say"
        for _ in range(3):
            await w.round()
        assert (await w.tasks())[0].phase is Phase.PARKED
        assert w.column(issue) == "Blocked"


async def test_a_degraded_deploy_is_rolled_back_once_where_the_pipeline_says_so(db: Any):
    hosts = Hosts(well=False)
    async with shipped(db, hosts, rollback=True) as (w, issue):
        for _ in range(3):
            await w.round()
        assert hosts.rolled_back == 1
        assert "rolled back to release 1" in (await w.tasks())[0].reason
        assert w.column(issue) == "Blocked"


async def test_of_its_own_degraded_deployment_it_only_alerts(db: Any):
    """Whatever the pipeline says: neither the app nor the board is touched."""
    hosts = Hosts(well=False)
    async with shipped(db, hosts, project=OWN, rollback=True) as (w, issue):
        await w.round()
        (task,) = await w.tasks()
        assert task.phase is Phase.PARKED
        assert len(w.alerts) == 1
        assert "This Millpond was deployed by itself" in w.alerts[0]
        assert "web: exited" in w.alerts[0]
        assert w.column(issue) == "Monitoring after Deploy"
        writes = [line for line in w.plane.requests if line.startswith(("PATCH", "POST"))]
        for _ in range(3):
            await w.round()
        assert [line for line in w.plane.requests if line.startswith(("PATCH", "POST"))] == writes
        assert (hosts.rolled_back, len(hosts.brought), len(w.alerts)) == (0, 1, 1)


async def test_its_own_healthy_deployment_ends_as_any_other(db: Any):
    async with shipped(db, Hosts(), project=OWN) as (w, issue):
        await w.round()
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert w.column(issue) == "Done"
        assert w.alerts == []


async def test_a_deploy_that_comes_late_does_not_take_back_what_was_merged_after_it(db: Any):
    hosts = Hosts(away_s=2000)
    async with shipped(db, hosts) as (w, _):
        await w.round()
        assert hosts.brought == []
        hosts.away_s = None
        later = w.issue()
        await w.round()
        w.plane.say(SHOP.tracker_project, later, "/approve")
        await w.round()
        one, two = await w.tasks()
        assert (one.stage, one.phase) == ("deploy", Phase.READY), "it waits for its next attempt"
        assert hosts.brought == [two.sha]
        for _ in range(7):
            await w.round()
        assert {task.phase for task in await w.tasks()} == {Phase.DONE}
        assert hosts.brought == [two.sha], "which has the first one"
