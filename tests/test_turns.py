"""How many go on in one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from millpond.turns import Shares, Turnstile


class Turns:
    """Counts the turns of the running loop."""

    def __init__(self) -> None:
        self.number = 0
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.number += 1
        asyncio.get_running_loop().call_soon(self._next)


async def through(stile: Turnstile, turns: Turns, passed: list[tuple[int, int]], who: int) -> None:
    await stile.enter()
    passed.append((who, turns.number))


async def test_a_crowd_goes_through_in_turns_in_the_order_in_which_it_came():
    stile, turns, passed = Turnstile(4), Turns(), []
    await asyncio.gather(*(through(stile, turns, passed, who) for who in range(30)))
    assert [who for who, _ in passed] == list(range(30))
    assert max(Counter(turn for _, turn in passed).values()) == 4


async def test_one_alone_does_not_wait():
    stile, turns, passed = Turnstile(1), Turns(), []
    before = turns.number
    await through(stile, turns, passed, 0)
    assert passed == [(0, before)]
    for _ in range(3):
        await asyncio.sleep(0)
    await through(stile, turns, passed, 1)
    assert passed[1] == (1, turns.number)


async def test_who_is_cancelled_takes_nobodys_place():
    stile, turns, passed = Turnstile(1), Turns(), []
    tasks = [asyncio.create_task(through(stile, turns, passed, who)) for who in range(6)]
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [who for who, _ in passed] == [0, 4, 5]


def test_a_loop_that_ended_amid_a_turn_leaves_the_next_one_free():
    stile = Turnstile(1)

    async def crowd() -> None:
        tasks = [asyncio.create_task(stile.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    asyncio.run(crowd())
    asyncio.run(asyncio.wait_for(stile.enter(), 10))


async def test_one_transfer_alone_has_the_whole_turn():
    shares, loop = Shares(4000, 100), asyncio.get_running_loop()
    for _ in range(3):
        assert shares.take(loop) == 4000
        await asyncio.sleep(0)


async def test_many_transfers_share_a_turn_and_none_gets_less_than_the_least():
    shares, loop, sent = Shares(4000, 100), asyncio.get_running_loop(), list[int]()
    for _ in range(3):
        sent.append(sum(shares.take(loop) for _ in range(20)))
        await asyncio.sleep(0)
    assert sent[1:] == [4000, 4000]
    assert sent[0] < 4 * 4000, "even the first turn, when nobody knows how many there are, is no crowd's"
    assert [shares.take(loop) for _ in range(100)][-1] == 100


def test_shares_of_a_loop_that_ended_are_forgotten():
    shares = Shares(4000, 100)

    async def take(times: int) -> int:
        return [shares.take(asyncio.get_running_loop()) for _ in range(times)][-1]

    assert asyncio.run(take(10)) == 400
    assert asyncio.run(take(1)) == 4000
