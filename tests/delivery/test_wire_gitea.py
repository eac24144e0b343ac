"""The contract, part B, on the wire: gates and merges with a Gitea that loses, doubles, moves and fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.delivery.wired import SHOP, Wired, wired

from millpond.delivery.model import Phase
from millpond.testing.giteaserver import Fails

BRANCH = "feature/SH-1-a-title"


@pytest_asyncio.fixture
async def w(db: Any) -> AsyncIterator[Wired]:
    async with wired(db) as made:
        yield made


def merges(w: Wired) -> int:
    """Count the merge commits on main."""
    repo = w.gitea.repos[SHOP.repo]
    return sum(len(repo.parents[sha]) == 2 for sha in repo.history(repo.branches["main"]))


async def gated(w: Wired) -> str:
    issue = w.issue()
    await w.round()
    (task,) = await w.tasks()
    assert (task.stage, task.phase) == ("build", Phase.GATED)
    return issue


async def test_the_commit_that_was_approved_is_the_one_that_is_merged(w: Wired):
    issue = await gated(w)
    w.place(issue, "Approved")
    await w.round()
    (task,) = await w.tasks()
    assert (task.phase, merges(w)) == (Phase.DONE, 1)
    repo = w.gitea.repos[SHOP.repo]
    assert task.sha in repo.parents[repo.branches["main"]]


async def test_a_commit_without_statuses_waits(w: Wired):
    issue = await gated(w)
    sha = w.gitea.repos[SHOP.repo].branches[BRANCH]
    w.gitea.repos[SHOP.repo].statuses.clear()
    w.place(issue, "Approved")
    await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.GATED, 0)
    w.gitea.status(SHOP.repo, sha, "ci", "success")
    await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.DONE, 1)


async def test_a_push_after_the_verdict_voids_it(w: Wired):
    issue = await gated(w)
    sha = w.gitea.push(SHOP.repo, BRANCH, sneaked="in")
    w.gitea.status(SHOP.repo, sha, "ci", "success")
    await w.round()
    w.place(issue, "Approved")
    later = w.gitea.push(SHOP.repo, BRANCH, sneaked="again")
    w.gitea.status(SHOP.repo, later, "ci", "success")
    await w.round()
    assert merges(w) == 0


async def test_an_approval_after_a_push_that_nobody_saw_counts_if_it_names_the_commit(w: Wired):
    issue = await gated(w)
    sha = w.gitea.push(SHOP.repo, BRANCH, sneaked="in")
    w.gitea.status(SHOP.repo, sha, "ci", "success")
    w.plane.say(SHOP.tracker_project, issue, "/approve")
    await w.round()
    assert merges(w) == 0, "which of the two it meant nobody knows"
    sha = w.gitea.push(SHOP.repo, BRANCH, sneaked="again")
    w.gitea.status(SHOP.repo, sha, "ci", "success")
    w.plane.say(SHOP.tracker_project, issue, f"/approve {sha[:12]}")
    await w.round()
    (task,) = await w.tasks()
    assert (task.phase, task.sha, merges(w)) == (Phase.DONE, sha, 1)


async def test_a_push_between_look_and_merge_is_not_merged(w: Wired):
    issue = await gated(w)
    w.place(issue, "Approved")

    def meanwhile(line: str) -> None:
        if line.startswith("POST") and line.endswith("/merge"):
            w.gitea.before = None
            w.gitea.push(SHOP.repo, BRANCH, sneaked="in")

    w.gitea.before = meanwhile
    await w.round()
    assert merges(w) == 0
    (task,) = await w.tasks()
    assert task.phase is not Phase.DONE


async def test_a_push_while_the_merge_waits_in_the_queue_is_judged_before_it_is_merged(w: Wired):
    issue = await gated(w)
    w.place(issue, "Approved")
    await w.age(400)
    await w.engine.poll()
    while await w.engine.look(10):
        pass
    (task,) = await w.tasks()
    assert (task.stage, task.phase) == ("merge", Phase.WORKING)
    later = w.gitea.push(SHOP.repo, BRANCH, sneaked="in")
    for _ in range(4):
        await w.round()
    (task,) = await w.tasks()
    assert (task.stage, task.phase, merges(w)) == ("build", Phase.GATED, 0)
    assert later in w.gitea.repos[SHOP.repo].history(task.sha)
    w.place(issue, "Backlog")
    await w.round()
    w.place(issue, "Approved")
    await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.DONE, 1)


async def test_try_again_later_is_tried_again(w: Wired):
    issue = await gated(w)
    w.gitea.checking = 8
    w.place(issue, "Approved")
    for _ in range(12):
        await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.DONE, 1)


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_forge_that_fails_merges_once_in_the_end(w: Wired, how: Fails, lost: bool):
    issue = await gated(w)
    w.place(issue, "Approved")
    w.gitea.fail(how, 2, words="/merge", lost=lost)
    w.gitea.fail(how, 3, words="/branches/")
    w.gitea.fail(how, 2, words="POST /api/v1/repos/team/shop/pulls", lost=lost)
    for _ in range(10):
        await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.DONE, 1)
    assert len(w.gitea.repos[SHOP.repo].pulls) == 1


async def test_an_outage_while_a_gate_is_judged_passes_nothing(w: Wired):
    issue = await gated(w)
    w.place(issue, "Approved")
    w.gitea.fail(Fails.ERROR, 1000, words="/status")
    for _ in range(3):
        await w.round()
    assert ((await w.tasks())[0].phase, merges(w)) == (Phase.GATED, 0)
