from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.delivery.steps.given import FakeDesk, job_of

from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.steps.base import Deployed, Out, StepFailed, Watch, Wellness, Work
from millpond.delivery.steps.deploy import DeployStep
from millpond.testing.forge import FakeForge

SHA, LATER = "a" * 40, "b" * 40


class FakeDeployer:
    """Gives what it is told, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.sets: list[Mapping[str, str]] = []
        self.rolled_back = 0
        self.what_is_out: Out | None = None

    async def out(self, _: Work) -> Out | None:
        return self.what_is_out

    def _next(self) -> Any:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def deploy(self, _: Work, sets: Mapping[str, str]) -> Deployed:
        self.sets.append(sets)
        result = self._next()
        assert isinstance(result, Deployed)
        return result

    async def look(self, _: Work) -> Watch:
        result = self._next()
        assert isinstance(result, Watch)
        return result

    async def roll_back(self, _: Work) -> str:
        self.rolled_back += 1
        result = self._next()
        return "rolled back to release 1" if isinstance(result, Watch) else str(result)


def degraded(text: str = "web: exited") -> Watch:
    return Watch(Wellness.DEGRADED, text, 30.0)


async def run(deployer: FakeDeployer, forge: FakeForge | None = None, **more: Any) -> Outcome:
    job: Job = job_of(step="deploy", stage="deploy", **{"sha": SHA, **more})
    return await DeployStep(FakeDesk(None), deployer, forge or FakeForge()).run(job)


async def test_a_deploy_that_converged_is_evidence_about_the_commit():
    outcome = await run(FakeDeployer(Deployed(True, "release 3 of shop", 3)))
    assert isinstance(outcome, Done)
    told = outcome.evidence[0]
    assert (told.kind, told.sha, told.facts["converged"], told.facts["release"]) == ("deploy", SHA, True, 3)


async def test_one_that_did_not_fails_with_what_is_wrong():
    outcome = await run(FakeDeployer(Deployed(False, "web exits with 1")))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "web exits with 1"
    assert outcome.evidence[0].facts["converged"] is False


async def test_variables_are_set_with_the_commit_and_the_key():
    deployer = FakeDeployer(Deployed(True))
    await run(deployer, settings={"sets": {"VERSION": "{sha}", "TASK": "{key}", "N": 1}})
    assert deployer.sets == [{"VERSION": SHA, "TASK": "SH-1", "N": "1"}]


async def test_what_may_pass_is_tried_again_and_the_rest_fails():
    outcome = await run(FakeDeployer(StepFailed("h1 is leased", after_s=30)))
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 30
    assert not outcome.not_yet
    outcome = await run(FakeDeployer(StepFailed("somebody deploys it", after_s=30, not_yet=True)))
    assert isinstance(outcome, Retry)
    assert outcome.not_yet
    assert isinstance(await run(FakeDeployer(StepFailed("there is no app"))), Failed)
    assert isinstance(await run(FakeDeployer(Deployed(True)), sha=""), Failed)


async def test_a_commit_that_another_task_s_release_has_is_not_brought_out_over_it():
    deployer, forge = FakeDeployer(Deployed(True, "release 5 of shop", 5)), FakeForge(history={LATER: {SHA}})
    deployer.what_is_out = Out(4, LATER)
    outcome = await run(deployer, forge)
    assert isinstance(outcome, Done)
    assert not deployer.sets, "nothing was deployed"
    told = outcome.evidence[0]
    assert (told.facts["converged"], told.facts["release"], told.sha) == (True, 4, SHA)
    assert str(told.facts["detail"]).startswith("release 4 of ")
    assert "bbbbbbbbbbbb has this one" in str(told.facts["detail"])


@pytest.mark.parametrize("out", [None, Out(4, SHA), Out(4, LATER), Out(4, "v1.2, by hand")])
async def test_over_any_other_it_is(out: Out | None):
    deployer, forge = FakeDeployer(Deployed(True, "release 5 of shop", 5)), FakeForge(history={SHA: {LATER}})
    deployer.what_is_out = out
    assert isinstance(await run(deployer, forge), Done)
    assert len(deployer.sets) == 1


async def test_while_nobody_can_tell_what_is_out_it_waits():
    deployer, forge = FakeDeployer(Deployed(True)), FakeForge(down=True)
    deployer.what_is_out = Out(4, LATER)
    outcome = await run(deployer, forge)
    assert isinstance(outcome, Retry)
    assert outcome.not_yet
    assert "the forge is down" in outcome.reason
    assert not deployer.sets
    deployer.what_is_out = None
    assert isinstance(await run(deployer, forge), Done), "the first one needs no forge"
