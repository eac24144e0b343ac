"""The states cache, sentence by sentence of the contract."""

from __future__ import annotations

import asyncio

import pytest

from millpond.delivery.board.states import RETRY_S, StatesCache
from millpond.delivery.model import Key, Project, State
from millpond.testing.clock import FakeClock

SHOP = Project("shop", "p1", "team/shop", "SH")
DESK = Project("desk", "p2", "team/desk", "DE")


class Boards:
    """Columns by project; counts how often each was asked."""

    def __init__(self) -> None:
        self.columns = {"shop": [State("s-done", "Done", "completed")], "desk": [State("d-done", "Done", "completed")]}
        self.asked: list[str] = []
        self.down = False
        self.gate: asyncio.Event | None = None

    async def fetch(self, project: Project) -> list[State]:
        self.asked.append(project.name)
        answer = list(self.columns[project.name])
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise OSError("no route to the tracker")
        return answer


def cache(boards: Boards, clock: FakeClock, **options: object) -> StatesCache:
    return StatesCache(boards.fetch, clock.monotonic, **options)  # type: ignore[arg-type]


async def test_a_state_added_on_the_board_is_seen_after_the_lifetime_without_a_restart():
    boards, clock = Boards(), FakeClock()
    states = cache(boards, clock, ttl_s=300)
    assert (await states.board(SHOP)).writable(Key.BLOCKED) is None
    boards.columns["shop"].append(State("s-blocked", "Blocked", "started"))
    clock.advance(299)
    assert (await states.board(SHOP)).writable(Key.BLOCKED) is None
    clock.advance(1)
    assert (await states.board(SHOP)).writable(Key.BLOCKED) == "s-blocked"
    assert boards.asked == ["shop", "shop"]


async def test_zero_keeps_them_for_the_life_of_the_process():
    boards, clock = Boards(), FakeClock()
    states = cache(boards, clock, ttl_s=0)
    await states.board(SHOP)
    clock.advance(10**9)
    await states.board(SHOP)
    assert boards.asked == ["shop"]


async def test_the_wall_clock_has_no_say():
    boards, clock = Boards(), FakeClock()
    states = cache(boards, clock, ttl_s=300)
    await states.board(SHOP)
    clock.jump(86_400)
    await states.board(SHOP)
    assert boards.asked == ["shop"]


async def test_a_refresh_that_fails_serves_the_stale_set_of_the_same_project():
    boards, clock = Boards(), FakeClock()
    states = cache(boards, clock, ttl_s=300, defaults={Key.DONE: "default-done"})
    await states.board(SHOP)
    await states.board(DESK)
    boards.down = True
    clock.advance(1000)
    assert (await states.board(SHOP)).writable(Key.DONE) == "s-done"
    assert (await states.board(DESK)).writable(Key.DONE) == "d-done"


async def test_defaults_serve_what_was_never_fetched_and_are_not_kept():
    boards, clock = Boards(), FakeClock()
    boards.down = True
    states = cache(boards, clock, ttl_s=0, defaults={Key.DONE: "default-done"})
    found = await states.board(SHOP)
    assert (found.resolve(Key.DONE), found.writable(Key.DONE)) == ("default-done", None)
    assert states.groups(SHOP) == {}
    boards.down = False
    clock.advance(RETRY_S)
    found = await states.board(SHOP)
    assert (found.resolve(Key.DONE), found.writable(Key.DONE)) == ("s-done", "s-done")
    assert states.groups(SHOP) == {"s-done": "completed"}


async def test_a_tracker_that_is_down_is_not_asked_at_each_look():
    boards, clock = Boards(), FakeClock()
    boards.down = True
    states = cache(boards, clock)
    for _ in range(5):
        await states.board(SHOP)
    assert boards.asked == ["shop"]
    clock.advance(RETRY_S)
    await states.board(SHOP)
    assert boards.asked == ["shop", "shop"]


async def test_one_question_for_all_who_come_at_once_and_projects_do_not_wait_for_each_other():
    boards, clock = Boards(), FakeClock()
    boards.gate = asyncio.Event()
    states = cache(boards, clock)
    looks = [asyncio.create_task(states.board(project)) for project in (SHOP, SHOP, DESK, SHOP)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert boards.asked == ["shop", "desk"]
    boards.gate.set()
    found = await asyncio.gather(*looks)
    assert [one.writable(Key.DONE) for one in found] == ["s-done", "s-done", "d-done", "s-done"]


async def test_a_reload_empties_it_and_what_was_under_way_is_not_kept():
    boards, clock = Boards(), FakeClock()
    boards.gate = asyncio.Event()
    states = cache(boards, clock, ttl_s=0)
    look = asyncio.create_task(states.board(SHOP))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    states.clear()
    boards.columns["shop"] = [State("new-done", "Done", "completed")]
    boards.gate.set()
    await look
    assert (await states.board(SHOP)).writable(Key.DONE) == "new-done"


@pytest.mark.parametrize("error", [OSError("x"), ValueError("x"), KeyError("x"), RuntimeError("x"), TimeoutError()])
async def test_it_never_raises(error: Exception):
    async def fetch(project: Project) -> list[State]:
        raise error

    states = StatesCache(fetch, FakeClock().monotonic)
    found = await states.board(SHOP)
    assert [found.resolve(key) for key in Key] == [None] * len(Key)


async def test_a_cancellation_goes_through_and_the_next_look_asks_again():
    boards, clock = Boards(), FakeClock()
    boards.gate = asyncio.Event()
    states = cache(boards, clock)
    look = asyncio.create_task(states.board(SHOP))
    await asyncio.sleep(0)
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    boards.gate.set()
    assert (await states.board(SHOP)).writable(Key.DONE) == "s-done"
