from __future__ import annotations

from typing import Any

import pytest
from tests.delivery.steps.given import BRANCH, SHOP, FakeDesk, job_of

from millpond.delivery.model import Done, Failed, Job, Outcome, Project, Retry
from millpond.delivery.ports import ForgeFailed, Merge
from millpond.delivery.steps.merge import MergeStep
from millpond.testing.forge import FakeForge

SHA = "a" * 40
NAME = f"{SHOP.repo}:{BRANCH}"


class Answering(FakeForge):
    """Answers a merge as it is told; `lies`: it says that it merged, and did not."""

    answer: Merge | None = None
    asked = 0

    async def merge(self, project: Project, number: int, sha: str) -> Merge:
        self.asked += 1
        return self.answer if self.answer is not None else await super().merge(project, number, sha)


@pytest.fixture
def forge() -> Answering:
    return Answering(heads={NAME: SHA})


def merging(**more: Any) -> Job:
    return job_of(step="merge", stage="merge", **{"sha": SHA, **more})


async def run(forge: FakeForge, job: Job) -> Outcome:
    return await MergeStep(FakeDesk(None), forge, look_s=0.0).run(job)


async def test_merged_at_the_commit_that_was_judged_and_seen_on_the_branch(forge: Answering):
    outcome = await run(forge, merging())
    assert isinstance(outcome, Done)
    assert outcome.evidence[0].kind == "merged"
    assert outcome.evidence[0].sha == SHA
    assert await forge.contains(SHOP, "main", SHA)


async def test_merged_already_is_merged(forge: Answering):
    await run(forge, merging())
    assert isinstance(await run(forge, merging()), Done)
    assert forge.asked == 1


async def test_a_branch_that_has_moved_is_not_merged(forge: Answering):
    forge.heads[NAME] = "b" * 40
    outcome = await run(forge, merging())
    assert isinstance(outcome, Retry)
    assert "bbbbbbbbbbbb" in outcome.reason
    assert forge.asked == 0


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Merge.LATER, Retry, "not ready"),
        (Merge.MOVED, Retry, "moved on"),
        (Merge.CONFLICT, Failed, "conflicts with main"),
        (Merge.REFUSED, Failed, "refuses"),
        (Merge.MERGED, Retry, "it is not on main"),
    ],
)
async def test_each_other_answer(forge: Answering, answer: Merge, kind: type, text: str):
    forge.answer = answer
    outcome = await run(forge, merging())
    assert isinstance(outcome, kind)
    assert text in outcome.reason  # type: ignore[union-attr]


async def test_a_forge_that_is_not_ready_uses_up_no_attempt_and_a_branch_that_moved_does(forge: Answering):
    for answer, free in ((Merge.LATER, True), (Merge.MOVED, False)):
        forge.answer = answer
        outcome = await run(forge, merging())
        assert isinstance(outcome, Retry)
        assert outcome.not_yet is free


async def test_without_a_commit_there_is_nothing_to_merge(forge: Answering):
    assert isinstance(await run(forge, merging(sha="")), Failed)


async def test_a_forge_that_is_away_is_asked_again(forge: Answering):
    forge.down = True
    assert isinstance(await run(forge, merging()), Retry)
    forge.down = False
    del forge.heads[NAME]
    outcome = await run(forge, merging())
    assert isinstance(outcome, Failed)
    assert "no branch" in outcome.reason


async def test_its_own_wish_is_followed(forge: Answering, monkeypatch: pytest.MonkeyPatch):
    async def limited(*_: object) -> bool:
        raise ForgeFailed("too many requests", after_s=77)

    monkeypatch.setattr(Answering, "contains", limited)
    outcome = await run(forge, merging())
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 77
