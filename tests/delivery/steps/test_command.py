from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.steps.given import BRANCH, Given, git, job_of

from millpond.delivery.model import Done, Evidence, Failed, Job, Outcome, Retry
from millpond.delivery.steps.command import CommandStep

pytestmark = pytest.mark.process


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given.at(tmp_path)


def sh(script: str, number: int = 1, **more: Any) -> Job:
    settings = {"argv": ["sh", "-c", script], **more.pop("settings", {})}
    return job_of(number, "testing", settings=settings, **more)


async def run(given: Given, job: Job) -> Outcome:
    async with asyncio.timeout(100):
        return await CommandStep(given.tools).run(job)


async def test_tests_that_passed_are_evidence_about_the_commit_that_they_ran_on(given: Given):
    base = git("rev-parse", "main", cwd=given.forge)
    outcome = await run(given, sh("cat README; touch junk; echo '===== 3 passed in 0.12s ====='"))
    assert outcome == Done("", (Evidence("tests", {"passed": 3, "failed": 0}, base),))
    assert given.head() == ""


async def test_a_command_that_tells_no_counts_is_the_one_test(given: Given):
    outcome = await run(given, sh("true"))
    assert isinstance(outcome, Done)
    assert outcome.evidence[0].facts == {"passed": 1, "failed": 0}


async def test_one_that_fails_says_its_last_words(given: Given):
    outcome = await run(given, sh("echo first; echo 'x is not y' >&2; exit 3"))
    assert isinstance(outcome, Failed)
    assert "rc=3" in outcome.reason
    assert "x is not y" in outcome.reason
    assert outcome.evidence[0].facts == {"passed": 0, "failed": 1}


async def test_what_it_leaves_is_pushed_where_that_is_wanted_and_evidence_is_about_it(given: Given):
    outcome = await run(
        given, sh("echo {key} $MILLPOND_BRANCH > made", settings={"commit": True, "message": "{key}: it"})
    )
    assert isinstance(outcome, Done)
    assert outcome.sha == given.head() == outcome.evidence[0].sha
    assert given.file("made") == f"SH-1 {BRANCH}"
    assert git("log", "-1", "--format=%s", BRANCH, cwd=given.forge) == "SH-1: it"


async def test_a_branch_that_moved_on_is_looked_at_again(given: Given):
    first = await run(given, sh("echo 1 > a", settings={"commit": True}))
    assert isinstance(first, Done)
    outcome = await run(given, sh("true", 2, sha="a" * 40))
    assert isinstance(outcome, Retry)
    assert "by now" in outcome.reason


async def test_where_the_branch_is_gone_after_the_merge_it_is_the_task_s_commit_that_is_tested(given: Given):
    first = await run(given, sh("echo 1 > a", settings={"commit": True}))
    assert isinstance(first, Done)
    git("update-ref", "refs/heads/main", first.sha, cwd=given.forge)
    git("branch", "-D", BRANCH, cwd=given.forge)
    git("pull", "-q", "origin", "main", cwd=given.folder / "other")
    (given.folder / "other" / "more").write_text("x")
    for words in ("add .", "commit -qm more", "push -q origin main"):
        git(*words.split(), cwd=given.folder / "other")
    outcome = await run(given, sh("test -e a && test ! -e more", 2, sha=first.sha))
    assert outcome == Done("", (Evidence("tests", {"passed": 1, "failed": 0}, first.sha),))


async def test_somebody_s_push_meanwhile_is_not_overwritten(given: Given):
    other = given.folder / "other"
    push = f"cd {other} && git checkout -qb t main && echo x > theirs && git add . && git commit -qm t"
    script = f"(unset GIT_DIR; {push} && git push -q origin t:{BRANCH}); echo 1 > a"
    outcome = await run(given, sh(script, settings={"commit": True}))
    assert isinstance(outcome, Retry)
    assert "somebody else pushed" in outcome.reason
    assert given.file("theirs") == "x"


@pytest.mark.parametrize(
    ("script", "more", "text"),
    [
        ("exit 75", {}, "asks to be tried again"),
        ("sleep 1000", {"timeout_s": 1.0}, "longer than 1 s"),
        ("sleep 1000", {"settings": {"stall_s": 1}}, "said nothing for 1 s"),
    ],
)
async def test_what_may_pass_is_tried_again(given: Given, script: str, more: dict[str, Any], text: str):
    outcome = await run(given, sh(script, **more))
    assert isinstance(outcome, Retry)
    assert text in outcome.reason


async def test_a_program_that_is_not_there_fails(given: Given):
    outcome = await run(given, job_of(settings={"argv": ["no-such-program"]}))
    assert isinstance(outcome, Failed)
    assert "no-such-program" in outcome.reason
    outcome = await run(given, job_of(2))
    assert isinstance(outcome, Failed)
    assert "names no command" in outcome.reason


async def test_its_home_is_its_own_and_gone_afterwards(given: Given):
    job = sh("test -O $HOME && test $(stat -c %a $HOME) = 700 && test -f $HOME/.netrc && touch $TMPDIR/x && echo $HOME")
    assert isinstance(await run(given, job), Done)
    assert given.log(job).strip() == str(given.run(job).home)
    assert not given.run(job).home.exists()
