"""The watchdog's decisions and its climb, on a place by script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hosts.conftest import FakeNotifier

from millpond.db import Database
from millpond.hosts.disk import TASK, Step, Watchdog, Would, below, cooling, over, status_of
from millpond.hosts.model import HOST_RUNGS, DiskOptions, Filled, HostFailed, Kind, Marks, Room, Run, Rung
from millpond.hosts.runs import Runs
from millpond.testing.clock import FakeClock

CACHE, DANGLING, IMAGES = HOST_RUNGS


def at(percent: float, inodes: float | None = 10.0) -> Room:
    fill = Filled(1000, int(percent * 10), 1000 - int(percent * 10))
    return Room(fill, None if inodes is None else Filled(1000, int(inodes * 10), 1000 - int(inodes * 10)))


@dataclass
class Script:
    """A place: how full it is, and what each rung's steps bring it down by."""

    percent: float = 90.0
    inodes: float | None = 10.0
    rungs: dict[Rung, list[float]] = field(default_factory=lambda: {CACHE: [2.0], DANGLING: [2.0], IMAGES: [2.0] * 5})
    broken: set[Rung] = field(default_factory=set)
    held: bool = False
    climbed: list[Rung] = field(default_factory=list)
    dead: bool = False
    name: str = "web1"

    async def measure(self) -> Room:
        if self.dead:
            raise HostFailed("web1", "no route", kind=Kind.TRANSIENT, reason="unreachable", rc=255)
        return at(self.percent, self.inodes)

    async def free(self, rung: Rung) -> AsyncIterator[Step]:
        if rung in self.broken:
            raise HostFailed("web1", "broken", kind=Kind.TRANSIENT, reason="command", rc=1)
        for less in self.rungs[rung]:
            self.climbed.append(rung)
            self.percent -= less
            yield Step(rung, "something", 10)

    async def would(self, rung: Rung) -> Would:
        return Would(rung, 5, ("a",))

    def alone(self):
        return nullcontext(None if self.held else self)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def dog(script: Script, db: Database, clock: FakeClock, notifier: FakeNotifier):
    def make(**options: object) -> Watchdog:
        return Watchdog(script, DiskOptions(**options), HOST_RUNGS, runs=Runs(db), notifier=notifier, clock=clock)

    return make


@given(st.floats(0, 100), st.floats(0, 100) | st.none())
def test_it_begins_above_either_high_mark_and_ends_below_both_low_ones(percent: float, inodes: float | None):
    room, options = at(percent, inodes), DiskOptions()
    shares = [room.bytes.percent, *([room.inodes.percent] if room.inodes else [])]
    assert over(room, options) == any(share > 85 for share in shares)
    assert below(room, options) == all(share < 80 for share in shares)
    assert not (over(room, options) and below(room, options))


def test_the_cool_down_ends_and_a_clock_set_back_does_not_prolong_it():
    options = DiskOptions(cooldown_s=100)
    assert [cooling(options, climbed, 1000.0) for climbed in (None, 900.0, 901.0, 1000.0, 1001.0)] == [
        False, False, True, True, False,
    ]  # fmt: skip


async def test_below_the_mark_nothing_is_touched(script: Script, dog, notifier: FakeNotifier):
    script.percent = 85.0
    run = await dog().look()
    assert (script.climbed, run.told["bytes_percent"], run.error, notifier.sent) == ([], 85.0, "", [])


async def test_it_climbs_only_as_far_as_it_takes(script: Script, dog, notifier: FakeNotifier):
    run = await dog().look()
    assert script.climbed == [CACHE, DANGLING, *[IMAGES] * 4], "measured after each step, ended below 80"
    assert script.percent == 78.0
    assert run.told["note"] == ""
    assert len(run.told["steps"]) == 6
    ((title, body),) = notifier.sent
    assert "disk-watchdog: web1: 90 % -> 78 %" in title
    assert body.count("- images") == 4


async def test_the_first_rung_may_be_enough(script: Script, dog):
    script.rungs[CACHE] = [30.0]
    await dog().look()
    assert script.climbed == [CACHE]


async def test_inodes_alone_are_a_reason_and_no_reason_where_there_are_none(script: Script, dog):
    script.percent, script.inodes = 10.0, 95.0
    await dog().look()
    assert script.climbed
    script.climbed, script.inodes = [], None
    await dog(cooldown_s=0).look()
    assert script.climbed == []


@pytest.mark.parametrize("off", HOST_RUNGS)
async def test_each_rung_can_be_switched_off(script: Script, dog, off: Rung):
    await dog(rungs=frozenset(Rung) - {off}).look()
    assert off not in script.climbed
    assert script.climbed


async def test_what_is_still_too_full_is_told_and_left_alone_for_the_cool_down(
    script: Script, dog, clock: FakeClock, notifier: FakeNotifier
):
    script.percent = 100.0
    run = await dog().look()
    assert "nothing more may go" in run.told["note"]
    assert "still too full" in notifier.sent[0][0]
    climbed = len(script.climbed)
    clock.advance(1799)
    run = await dog().look()
    assert (len(script.climbed), run.told["note"]) == (climbed, "above the mark; room was made lately")
    clock.advance(1)
    await dog().look()
    assert len(script.climbed) > climbed
    assert len(notifier.sent) == 2


async def test_a_rung_that_fails_is_told_and_the_next_one_is_tried(script: Script, dog):
    script.broken = {CACHE}
    run = await dog().look()
    assert script.climbed[0] is DANGLING
    assert run.error == "build_cache: rc=1: broken"


async def test_while_a_deploy_holds_the_host_nothing_is_removed(script: Script, dog):
    script.held = True
    run = await dog().look()
    assert (script.climbed, "holds the host" in str(run.told["note"])) == ([], True)
    script.held = False
    await dog().look()
    assert script.climbed, "that was no climb: no cool-down"


async def test_a_dead_host_is_an_error_and_what_was_known_stays(script: Script, dog):
    await dog().look()
    script.dead = True
    await dog().tick()
    run = await dog()._runs.of("web1", TASK)
    assert run.error == "rc=255: no route"
    assert status_of(DiskOptions(), run)["bytes_percent"] == 78.0
    assert status_of(DiskOptions(), run)["steps"]
    script.dead = False
    assert (await dog().look()).error == ""


async def test_the_kill_switch_kills(script: Script, dog):
    await dog(enabled=False).tick()
    assert script.climbed == []
    assert await dog()._runs.of("web1", TASK) == Run()


async def test_nothing_is_raised_out_of_a_tick(script: Script, dog, monkeypatch):
    async def broken() -> Room:
        raise RuntimeError("no")

    monkeypatch.setattr(script, "measure", broken)
    await dog().tick()


async def test_the_plan_has_sizes_and_removes_nothing(script: Script, dog):
    planned = await dog(rungs=frozenset({CACHE, IMAGES})).plan()
    assert planned["needed"] is True
    assert planned["rungs"] == [
        {"rung": "build_cache", "bytes": 5, "what": ("a",)},
        {"rung": "images", "bytes": 5, "what": ("a",)},
    ]
    assert script.climbed == []


def test_other_marks_are_other_marks():
    options = DiskOptions(bytes=Marks(50, 40))
    assert over(at(51), options)
    assert below(at(39), options)
