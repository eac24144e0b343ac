"""Waking who waits for work, in this process and from another one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from millpond.app.waking import LOOK, PIPE, POLL, SEND, WORK, Wakes
from millpond.delivery.ledger.books import Point


async def test_a_commit_wakes_whoever_it_gives_something_to_do(tmp_path: Path):
    wakes = Wakes(tmp_path)
    await asyncio.to_thread(wakes.committed, Point.APPLY, "before")
    await asyncio.to_thread(wakes.committed, Point.HEARTBEAT, "after")
    await asyncio.sleep(0)
    assert not any(wakes.bell(name).rung for name in (LOOK, WORK, SEND, POLL))
    await asyncio.to_thread(wakes.committed, Point.APPLY, "after")
    await wakes.wait(WORK, 30)
    assert wakes.bell(SEND).rung
    assert not wakes.bell(WORK).rung, "who waited has it"
    assert not wakes.bell(LOOK).rung


async def test_another_process_wakes_the_one_that_listens(tmp_path: Path):
    listening, other = Wakes(tmp_path), Wakes(tmp_path)
    other.wake(LOOK)  # nobody listens yet: nothing happens
    listening.listen()
    try:
        for _ in range(3):
            other.wake(LOOK, POLL)
            await listening.wait(LOOK, 30)
            await listening.wait(POLL, 30)
        assert not listening.bell(SEND).rung
    finally:
        listening.close()
    other.wake(LOOK)


async def test_a_pipe_that_nobody_reads_does_not_hold_up_who_writes(tmp_path: Path):
    listening, other = Wakes(tmp_path), Wakes(tmp_path)
    os.mkfifo(tmp_path / PIPE)
    fd = os.open(tmp_path / PIPE, os.O_RDWR | os.O_NONBLOCK)
    try:
        for _ in range(70_000):
            other._tell(b"l")
    finally:
        os.close(fd)
    listening.listen()
    listening.close()


async def test_a_file_in_its_place_is_named(tmp_path: Path):
    (tmp_path / PIPE).write_text("")
    with pytest.raises(FileExistsError, match="is no pipe: remove it"):
        Wakes(tmp_path).listen()


async def test_who_waits_in_vain_goes_on_by_itself(tmp_path: Path):
    await Wakes(tmp_path).wait(LOOK, 0.01)


async def test_a_bell_wakes_one_of_those_who_wait(tmp_path: Path):
    bell, woken = Wakes(tmp_path).bell(LOOK), list[int]()

    async def wait(number: int) -> None:
        await bell.wait(30)
        woken.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    await asyncio.sleep(0.05)
    assert woken == [0]
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    bell.ring()
    await asyncio.wait_for(waiting[2], 30)
    assert woken == [0, 2]
    bell.ring()
    await bell.wait(0)
    assert not bell.rung


async def test_one_who_is_woken_and_cancelled_at_once_hands_it_on(tmp_path: Path):
    bell = Wakes(tmp_path).bell(LOOK)
    waiting = asyncio.create_task(bell.wait(30))
    await asyncio.sleep(0)
    bell.ring()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert bell.rung
