"""`millpond drift`: issues that no listing has, columns that can't be read, commits that are lost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.delivering import COLUMNS, FAKED, PROJECT, Outer, until

from millpond.delivery.model import Done, Phase, State
from millpond.delivery.ports import TrackerFailed
from millpond.testing.tracker import FakeTracker

CONFIG = FAKED + "[delivery]\nworker = false\nreconcile = false\n"
MERGING = """
[[projects.shop.pipeline.stages]]
name = "build"
step = "command"
settings = { argv = ["make"] }
[[projects.shop.pipeline.stages]]
name = "merge"
step = "merge"
"""
SHA = "a" * 40


@pytest.fixture
def outer() -> Outer:
    return Outer()


async def drift(app: Any) -> Any:
    return await app.operations["drift"](progress=lambda *_: None)


async def begun(app: Any, outer: Outer) -> None:
    """Bring an issue to its first job."""
    await app.started()
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)

    async def working() -> bool:
        ledger = app.delivering.ledger
        left = [*await ledger.outbox.pending(), *await ledger.nudges.all()]
        return bool(await ledger.jobs.active()) and not left

    await until(working)


async def test_an_issue_in_a_column_younger_than_what_is_remembered_is_there(open_pond: Any, outer: Outer):
    app = (await open_pond(CONFIG, counterparts=outer)).app
    await begun(app, outer)
    outer.tracker.columns["shop"] = [*COLUMNS, State("parking", "Parking", "started")]
    outer.tracker.put(PROJECT, "i1", state="parking")
    found = await drift(app)
    (row,) = found["drift"]
    assert (found["failed"], row["key"]) == ({}, "SH-1")
    assert row["told"].startswith("it stands at Parking, and would be at Analysis: a person moved it")


async def test_an_issue_that_was_not_listed_is_asked_for_before_it_is_missed(
    open_pond: Any, outer: Outer, monkeypatch: pytest.MonkeyPatch
):
    """It moved past the pages while they were read, or into a column made since the columns were."""
    app = (await open_pond(CONFIG, counterparts=outer)).app
    await begun(app, outer)
    changed = FakeTracker.changed

    async def passing(self: FakeTracker, *about: Any) -> Any:
        listing = await changed(self, *about)
        return type(listing)((), complete=True, mark=listing.mark)

    monkeypatch.setattr(FakeTracker, "changed", passing)
    assert (await drift(app))["drift"] == []
    del outer.tracker.issues["shop", "i1"]
    (row,) = (await drift(app))["drift"]
    assert (row["issue"], row["told"]) == ("i1", "the board has no such issue any more")


@pytest.mark.parametrize("known", [True, False])
async def test_where_columns_can_t_be_read_nothing_is_compared(
    open_pond: Any, outer: Outer, monkeypatch: pytest.MonkeyPatch, known: bool
):
    app = (await open_pond(CONFIG, counterparts=outer)).app
    await begun(app, outer)
    if not known:
        app.delivering.states.clear()

    async def unread(*_: Any) -> Any:
        raise TrackerFailed("the columns can't be read")

    monkeypatch.setattr(FakeTracker, "states", unread)
    found = await drift(app)
    assert (found["ok"], found["drift"]) == (False, [])
    assert found["failed"] == {"shop": "the columns can't be read"}


async def test_a_task_is_done_and_its_commit_is_not_on_the_branch(open_pond: Any, outer: Outer):
    """As after a push by force, or a restore of the forge from a backup."""
    app = (await open_pond(CONFIG + MERGING, counterparts=outer)).app
    await begun(app, outer)
    of, merged = app.delivering, outer.forge.merged.setdefault("team/shop:main", [])

    async def task() -> Any:
        (found,) = await of.showing.tasks(project="shop", limit=2)
        return found

    outer.forge.heads[f"team/shop:{(await task()).branch}"] = SHA
    for outcome in (Done(SHA), Done()):
        (job,) = await until(lambda: of.ledger.jobs.claim("w", 60, most=4))
        merged[:] = [SHA] if job.stage == "merge" else []
        await of.ledger.jobs.finish(job, outcome)

    async def over() -> bool:
        return (await task()).phase is Phase.DONE and not await of.ledger.outbox.pending()

    await until(over)
    assert (await drift(app))["drift"] == []
    merged.clear()
    found = await drift(app)
    (row,) = found["drift"]
    assert (found["ok"], row["key"], row["between"]) == (False, "SH-1", "forge")
    assert row["told"] == f"it is done, but its commit {SHA[:12]} is not on main"
