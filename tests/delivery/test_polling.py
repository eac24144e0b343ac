"""How far back a poll asks: down to the mark of the last complete one, less an overlap."""

from __future__ import annotations

from typing import Any

import pytest
from tests.delivery.driven import SHOP, Driven, Outside

from millpond.delivery.model import Listing
from millpond.delivery.polling import OVERLAP_S
from millpond.testing.tracker import FakeTracker


@pytest.fixture
def driven(db: Any) -> Driven:
    return Driven(db, Outside())


async def polled(driven: Driven) -> tuple[str, ...]:
    """Poll once, and give what was found."""
    (found,) = await driven.engine.poll()
    assert not found.error
    return found.issues


async def begun(driven: Driven) -> FakeTracker:
    """Have everything listed once, with a change that lies long before the newest one."""
    tracker = driven.outside.tracker
    tracker.put(SHOP, "old", state="to-analyse")
    tracker.now += 10 * OVERLAP_S
    tracker.put(SHOP, "other", state="backlog")
    assert await polled(driven) == ("old",)
    assert await polled(driven) == (), "only what changed since"
    return tracker


@pytest.mark.parametrize("broken", [1, 3])
async def test_an_incomplete_listing_moves_no_mark(driven: Driven, monkeypatch: pytest.MonkeyPatch, broken: int):
    """What it lacked lies further back than the overlap by the time that a listing is complete."""
    tracker = await begun(driven)
    tracker.put(SHOP, "i1", state="to-analyse")
    real = FakeTracker.changed

    async def incomplete(self: FakeTracker, *about: Any) -> Listing:
        listing = await real(self, *about)
        return Listing((), complete=False, mark=listing.mark + 10 * OVERLAP_S)

    with monkeypatch.context() as patch:
        patch.setattr(FakeTracker, "changed", incomplete)
        for _ in range(broken):
            assert await polled(driven) == ()
    assert await polled(driven) == ("i1",)


async def test_an_incomplete_listing_of_everything_is_taken_again(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    tracker = driven.outside.tracker
    tracker.put(SHOP, "i1", state="to-analyse")
    tracker.now += 10 * OVERLAP_S
    asked = list[float]()

    async def incomplete(self: FakeTracker, project: Any, states: Any, since: float) -> Listing:
        asked.append(since)
        return Listing((), complete=False, mark=self.now)

    with monkeypatch.context() as patch:
        patch.setattr(FakeTracker, "changed", incomplete)
        await polled(driven)
        await polled(driven)
    assert asked == [0.0, 0.0]
    assert await polled(driven) == ("i1",)


@pytest.mark.parametrize(("before_s", "found"), [(1.0, True), (OVERLAP_S - 1, True), (OVERLAP_S + 1, False)])
async def test_a_change_stamped_just_before_the_mark_is_found(driven: Driven, before_s: float, found: bool):
    """A tracker stamps a change when it begins to write it, and shows it when it has written it."""
    tracker = await begun(driven)
    mark = max(one.updated_at for one in tracker.issues.values())
    tracker.put(SHOP, "late", state="to-analyse", updated_at=mark - before_s)
    assert await polled(driven) == (("late",) if found else ())
