"""The contract, part B, on the wire: what a board says and is told, with a Plane that loses, doubles and fails."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.delivery.wired import FINE, PLAIN, SHOP, TOYS, Wired, wired

from millpond.delivery.model import Key, Phase
from millpond.testing.planeserver import USER, Fails


@pytest_asyncio.fixture
async def w(db: Any) -> AsyncIterator[Wired]:
    async with wired(db) as made:
        yield made


async def test_a_webhook_starts_a_task_at_once(w: Wired):
    w.plane.now = time.time()
    issue = w.issue()
    await w.hear(w.deliveries())
    await w.settle()
    (task,) = await w.tasks()
    assert (task.key, task.project, task.issue, task.branch) == ("SH-1", "shop", issue, "feature/SH-1-a-title")
    assert w.column(issue) == "Needs Input", "built, and a verdict is awaited"


async def test_a_poll_finds_what_a_lost_webhook_would_have_told_after_the_grace_period(w: Wired):
    w.plane.now = time.time()
    w.issue()
    await w.engine.poll()
    await w.settle()
    assert await w.tasks() == []
    w.plane.projects[SHOP.tracker_project]["items"][0]["updated_at"] = "2026-01-01T00:00:00.000000Z"
    await w.round()
    assert len(await w.tasks()) == 1
    await w.round()
    assert len(await w.tasks()) == 1, "once"


async def test_doubled_and_reordered_webhooks_are_harmless(w: Wired):
    issues = [w.issue("Backlog") for _ in range(3)]
    for issue in issues:
        for column in ("To Analyse", "Backlog", "To Analyse"):
            w.place(issue, column)
    sent = w.deliveries() * 3
    random.Random(7).shuffle(sent)
    for one in sent:
        await w.hear([one])
        await w.engine.look(10)
    await w.settle()
    assert sorted(task.key for task in await w.tasks()) == ["SH-1", "SH-2", "SH-3"]


async def test_what_a_webhook_says_is_not_believed_but_read_again(w: Wired):
    """It says To Analyse; by now the issue stands elsewhere."""
    issue = w.issue()
    late = w.deliveries()
    w.place(issue, "Backlog")
    await w.hear(late)
    await w.settle()
    assert await w.tasks() == []


async def test_verdicts_by_column_pass_and_fail_a_gate_and_count_once(w: Wired):
    issue = w.issue()
    await w.round()
    (task,) = await w.tasks()
    assert (task.stage, task.phase) == ("build", Phase.GATED)
    w.place(issue, "Rejected")
    await w.round()
    (task,) = await w.tasks()
    assert (task.stage, task.visit) == ("build", 2), "sent back once"
    await w.round()
    assert (await w.tasks())[0].visit == 2, "the verdict that still stands there was used"
    w.place(issue, "Approved")
    await w.hear(w.deliveries())
    await w.settle()
    (task,) = await w.tasks()
    assert task.phase is Phase.DONE
    assert w.column(issue) == "Done"


async def test_a_verdict_as_a_comment(w: Wired):
    issue = w.issue()
    await w.round()
    w.plane.say(SHOP.tracker_project, issue, "/approve")
    await w.hear(w.deliveries())
    await w.settle()
    assert (await w.tasks())[0].phase is Phase.DONE


async def test_what_a_comment_quotes_is_no_verdict_and_what_stands_behind_one_is_its_reason(w: Wired):
    issue = w.issue()
    await w.round()
    for text in ("</p><blockquote><p>/approve</p></blockquote><p>no", "</p><pre><code>/approve</code></pre><p>"):
        w.plane.say(SHOP.tracker_project, issue, text)
        await w.hear(w.deliveries())
        await w.settle()
        assert (await w.tasks())[0].phase is Phase.GATED
    w.plane.say(SHOP.tracker_project, issue, "see:<br>/reject the colours are <b>wrong</b>")
    await w.hear(w.deliveries())
    await w.settle()
    (said,) = [one for one in await w.ledger.history((await w.tasks())[0]) if one.kind == "human-verdict"]
    assert (said.facts["approved"], said.facts["detail"]) == (False, "the colours are wrong")
    texts = [one["comment_html"] for one in w.plane.projects[SHOP.tracker_project]["comments"]]
    assert any("the colours are wrong" in text and "rejected by" in text for text in texts), texts


async def closing(w: Wired, *, named: bool) -> str:
    """Approve in a comment, and give the comment that tells how it ended."""
    issue = w.issue()
    await w.round()
    w.plane.say(SHOP.tracker_project, issue, "/approve")
    await w.hear(w.deliveries())
    await w.settle()
    (task,) = await w.tasks()
    (said,) = [one for one in await w.ledger.history(task) if one.kind == "human-verdict"]
    assert (said.source, said.facts["by"]) == (USER, USER), "who it was, is said by the id"
    assert ("name" in said.facts) == named
    texts = [one["comment_html"] for one in w.plane.projects[SHOP.tracker_project]["comments"]]
    return next(text for text in texts if "is done" in text)


async def test_people_are_called_by_their_names(w: Wired):
    w.plane.people[USER] = "Ada\n<b>Example</b>"
    assert "Approved by Ada &lt;b&gt;Example&lt;/b&gt;." in await closing(w, named=True)


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE, Fails.HANG])
async def test_people_whose_names_can_not_be_had_are_called_by_their_ids(w: Wired, how: Fails):
    w.plane.fail(how, times=1000, words="/members/")
    assert f"Approved by {USER}." in await closing(w, named=False)
    assert len([line for line in w.plane.requests if "/members/" in line]) <= 2  # aiohttp asks once more after a drop


async def test_a_plain_five_column_board_works_unchanged(db: Any):
    async with wired(db, PLAIN) as w:
        issue = w.issue("Todo")
        await w.round()
        assert await w.tasks() == []
        w.place(issue, "In Progress")
        await w.round()
        (task,) = await w.tasks()
        assert task.phase is Phase.GATED
        assert w.column(issue) == "In Progress"
        w.plane.say(SHOP.tracker_project, issue, "/approve")
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE
        assert w.column(issue) == "Done"


async def test_a_column_that_is_added_is_seen_after_its_time_with_no_restart(db: Any):
    async with wired(db, PLAIN) as w:
        issue = w.issue("In Progress")
        await w.round()
        w.columns["shop"]["Approved"] = str(w.plane.column(SHOP.tracker_project, "APPROVED", "started")["id"])
        w.place(issue, "Approved")
        await w.engine.poll()
        await w.settle()
        assert (await w.tasks())[0].phase is Phase.GATED, "it is not known yet"
        w.clock.advance(300)
        await w.round()
        assert (await w.tasks())[0].phase is Phase.DONE


async def test_when_columns_can_t_be_read_the_stale_ones_of_the_same_project_hold(w: Wired):
    issue = w.issue()
    await w.round()
    w.clock.advance(301)
    w.plane.fail(Fails.ERROR, 50, words="/states/")
    w.place(issue, "Approved")
    await w.round()
    assert (await w.tasks())[0].phase is Phase.DONE
    assert w.column(issue) == "Done"


async def test_a_board_that_was_never_read_starts_and_writes_nothing(w: Wired):
    w.plane.fail(Fails.ERROR, 100, words="/states/")
    w.issue()
    for _ in range(3):
        await w.round()
    assert await w.tasks() == []
    assert not [line for line in w.plane.requests if line.startswith(("PATCH", "POST"))]


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
async def test_an_outage_of_listings_does_nothing_and_raises_nothing(w: Wired, how: Fails):
    w.issue()
    await w.tracker.changed(SHOP, frozenset(), 0.0)  # from here on it is known what this server calls them
    w.plane.fail(how, 2, words="/work-items/?")
    await w.engine.poll()
    await w.settle()
    assert await w.tasks() == []
    await w.round()
    assert len(await w.tasks()) == 1


async def test_one_project_s_failure_does_not_stop_the_others(w: Wired):
    w.issue()
    other = w.issue(project=TOYS)
    w.plane.fail(Fails.ERROR, 1000, words=SHOP.tracker_project)
    await w.round()
    assert [task.issue for task in await w.tasks()] == [other]


async def test_a_listing_has_pages_and_an_outage_in_the_middle_of_them_is_no_absence(w: Wired):
    w.issue()
    for _ in range(230):
        w.issue("Backlog", tell=False)
    w.plane.fail(Fails.ERROR, 1, words="cursor=100%3A2")
    await w.engine.poll()
    await w.settle()
    assert await w.tasks() == []
    await w.round()
    assert len(await w.tasks()) == 1


async def test_the_next_poll_asks_for_one_page(w: Wired):
    for _ in range(230):
        w.issue("Backlog", tell=False)
    await w.round()
    w.plane.requests.clear()
    await w.engine.poll()
    assert len([line for line in w.plane.requests if f"{SHOP.tracker_project}/work-items/?" in line]) == 1


async def test_what_changes_without_a_new_time_stamp_is_found_by_the_slow_sweep(w: Wired):
    issue = w.issue("Backlog")
    w.plane.now += 1000
    w.issue("Backlog")
    await w.round()
    w.plane.quietly(SHOP.tracker_project, issue, w.columns["shop"]["To Analyse"])
    await w.round()
    await w.round()
    assert await w.tasks() == []
    w.clock.advance(3600)
    await w.round()
    assert len(await w.tasks()) == 1


WAITING = ("Analysis", "Code Review", "Needs Input", "Blocked")


@pytest.mark.parametrize("named", WAITING)
async def test_the_system_s_own_waiting_states_are_not_looked_for(db: Any, named: str):
    """Not even where a default, for a column that the board lacks, is the id of one of them."""
    defaults = {Key.MONITORING: "a-column-of-nobody"}
    columns = [one for one in FINE if one[0] not in {"To Analyse", "In Progress"}]
    async with wired(db, columns, defaults=defaults) as w:
        defaults[Key.TO_ANALYSE] = w.columns["shop"][named]
        for column in (*WAITING, "Done"):
            w.issue(column)
        await w.round()
        assert await w.tasks() == []
        assert await w.ledger.nudges.all() == []


async def test_our_own_writes_wake_nothing_up(w: Wired):
    issue = w.issue()
    await w.round()
    writes = len([line for line in w.plane.requests if line.startswith(("PATCH", "POST"))])
    for _ in range(3):
        await w.hear(w.deliveries())
        await w.round()
    assert len([line for line in w.plane.requests if line.startswith(("PATCH", "POST"))]) == writes
    assert len(await w.tasks()) == 1
    assert w.column(issue) == "Needs Input"


async def test_writes_whose_answers_are_lost_are_made_once(w: Wired):
    issue = w.issue()
    w.plane.fail(Fails.DROP, 3, words="/comments/", lost=True)
    w.plane.fail(Fails.ERROR, 2, words="PATCH", lost=True)
    for _ in range(8):
        await w.round()
    comments = [one for one in w.plane.projects[SHOP.tracker_project]["comments"] if one["issue"] == issue]
    keys = [one["external_id"] for one in comments]
    assert keys
    assert len(keys) == len(set(keys))


async def test_while_only_a_proxy_answers_no_issue_is_gone_and_no_write_is_dropped(w: Wired):
    """It says 404 to all that is asked, until the server behind it is there again."""
    issue = w.issue()
    for words in ("POST ", "PATCH ", f"GET /api/v1/workspaces/test-ws/projects/{SHOP.tracker_project}/"):
        w.plane.fail(Fails.LOST_PAGE, 1000, words=words)
        for _ in range(2):
            await w.round()
        w.plane.faults.clear()
        await w.round()
        (task,) = await w.tasks()
        assert task.phase is Phase.GATED
    await w.round()
    assert w.column(issue) == "Needs Input"
    assert await w.ledger.outbox.pending() == []
    keys = [one["external_id"] for one in w.plane.projects[SHOP.tracker_project]["comments"]]
    assert len(keys) == len(set(keys))
    assert any(key.endswith(":gate") for key in keys), keys


async def test_a_person_takes_an_issue_back_by_any_column_of_that_group(w: Wired):
    issue = w.issue()
    await w.round()
    w.place(issue, "Cancelled")
    await w.round()
    assert (await w.tasks())[0].phase is Phase.CANCELLED


async def test_an_issue_that_was_deleted_sends_no_webhook_and_is_noticed(w: Wired):
    w.issue()
    await w.round()
    w.plane.projects[SHOP.tracker_project]["items"].clear()
    await w.round()
    (task,) = await w.tasks()
    assert task.phase is Phase.PARKED
    assert "no such issue" in task.reason


async def test_a_refused_key_loses_no_write(w: Wired):
    """The operator mends it, and what waited leaves."""
    issue = w.issue()
    await w.hear(w.deliveries())
    while await w.engine.look(10):
        pass
    inner = w.plane.allowed

    def refuse(request: Any) -> Any:
        from aiohttp import web

        return web.json_response({"detail": "Given API token is not valid"}, status=403)

    w.plane.allowed = refuse  # type: ignore[method-assign]
    assert await w.engine.send(10)
    w.plane.allowed = inner  # type: ignore[method-assign]
    await w.round()
    assert w.column(issue) == "Needs Input"
