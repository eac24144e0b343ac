"""Who may go on in this turn of the event loop, where many want to at once.

The loop runs everything that is ready before it looks at the sockets again. Two hundred requests that come together, or
two hundred clients that wait for the same bytes, would be one turn of a tenth of a second, and hits would wait for it.
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
