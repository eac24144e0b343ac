from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.delivery.steps.given import SHOP, FakeDesk, job_of, work_of
from tests.delivery.steps.test_deploy import SHA, FakeDeployer, degraded

from millpond.delivery.model import Done, Failed, Job, Outcome, Project, Retry
from millpond.delivery.steps.base import StepFailed, Watch, Wellness, Work
from millpond.delivery.steps.monitor import MonitorStep

WELL = Watch(Wellness.HEALTHY, "release 3 runs", 700.0)


class Desk(FakeDesk):
    project: Project = SHOP

    async def work(self, job: Job) -> Work:
        return replace(work_of(job), project=self.project)


async def run(deployer: FakeDeployer, project: Project = SHOP, **more: Any) -> Outcome:
    desk = Desk(None)
    desk.project = project
    job = job_of(step="monitor", stage="monitoring", **{"sha": SHA, **more})
    return await MonitorStep(desk, deployer, between_s=0.0).run(job)


async def test_well_for_long_enough_is_done_with_evidence():
    outcome = await run(FakeDeployer(WELL))
    assert isinstance(outcome, Done)
    assert outcome.evidence[0].facts == {"state": "HEALTHY", "detail": "release 3 runs"}
    assert outcome.evidence[0].sha == SHA


async def test_well_so_far_is_looked_at_again():
    outcome = await run(FakeDeployer(replace(WELL, since_s=590.0)))
    assert isinstance(outcome, Retry)
    assert outcome.not_yet
    assert outcome.after_s == pytest.approx(10)
    outcome = await run(FakeDeployer(replace(WELL, since_s=60.0)), settings={"every_s": 15})
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 15


async def test_where_it_is_not_known_since_when_looks_are_counted():
    unknown = replace(WELL, since_s=None)
    assert isinstance(await run(FakeDeployer(unknown)), Retry)
    assert isinstance(await run(FakeDeployer(unknown), attempt=30), Done)


async def test_one_bad_look_is_not_yet_degraded():
    assert isinstance(await run(FakeDeployer(degraded(), degraded(), WELL)), Done)
    outcome = await run(FakeDeployer(degraded(), degraded(), degraded(), WELL))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "DEGRADED: web: exited"
    assert outcome.evidence[0].facts["state"] == "DEGRADED"


async def test_what_is_not_known_is_no_verdict():
    outcome = await run(FakeDeployer(Watch(Wellness.UNKNOWN, "h1 does not answer")))
    assert isinstance(outcome, Retry)
    assert not outcome.not_yet
    assert isinstance(await run(FakeDeployer(StepFailed("busy", after_s=5))), Retry)


async def test_rolled_back_only_where_that_is_wanted_and_never_this_millpond_itself():
    for project, settings, count in (
        (SHOP, {}, 0),
        (SHOP, {"rollback": True}, 1),
        (replace(SHOP, own=True), {"rollback": True}, 0),
    ):
        deployer = FakeDeployer(degraded())
        outcome = await run(deployer, project, settings=settings)
        assert isinstance(outcome, Failed)
        assert deployer.rolled_back == count
        assert ("rolled back to release 1" in outcome.reason) == bool(count)


async def test_a_rollback_that_fails_is_told():
    deployer = FakeDeployer(degraded(), degraded(), degraded(), StepFailed("there is no earlier release"))
    outcome = await run(deployer, settings={"rollback": True})
    assert isinstance(outcome, Failed)
    assert "could not be rolled back: there is no earlier release" in outcome.reason
