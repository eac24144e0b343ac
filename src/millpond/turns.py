"""How a turn of the event loop stays short where many want to go on at once.

The loop runs everything that is ready before it looks at the sockets again. Two hundred requests that come together,
fifty downloads that each have a piece to hash, or fifty clients that take a megabyte each, would be one turn of a tenth
of a second, and hits would wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque

PER_TURN = 16


class Turnstile:
    """Lets `per_turn` through in each turn of the loop, in the order in which they came."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = self._left = per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def enter(self) -> None:
        """Go on at once while this turn has room, else in one of the next."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._left, self._waiting = loop, self._per_turn, deque()
        if self._left == self._per_turn:
            loop.call_soon(self._next_turn, loop)
        if self._left > 0:
            self._left -= 1
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        self._left = self._per_turn
        while self._waiting and self._left > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():  # who was cancelled takes nobody's place
                waiter.set_result(None)
                self._left -= 1
        if self._left < self._per_turn:
            loop.call_soon(self._next_turn, loop)


class Shares:
    """Divides what may be sent in one turn among the transfers that send in it; none gets less than `min_bytes`."""

    def __init__(self, turn_bytes: int, min_bytes: int) -> None:
        self._turn_bytes, self._min_bytes = turn_bytes, min_bytes
        self._now, self._before = 0, 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, loop: asyncio.AbstractEventLoop) -> int:
        """Say how many bytes the next transfer may send; to be asked once in a turn by each."""
        if loop is not self._loop:
            self._loop, self._now, self._before = loop, 0, 0
        if self._now == 0:
            loop.call_soon(self._next_turn)
        self._now += 1
        return max(self._turn_bytes // max(self._now, self._before), self._min_bytes)

    def _next_turn(self) -> None:
        self._before, self._now = self._now, 0
