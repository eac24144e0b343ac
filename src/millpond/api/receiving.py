"""A request's body on its way in: how long its client may be silent, and what is done with a body that nobody wants.

Who closes a connection while bytes of it are unread makes the kernel reset it (RFC 9112 section 9.6), and a client that
sends its whole body before it reads would see a broken connection in the place of the reason. So after an early refusal
the connection is held for a while: some of the body is read and dropped, and then it waits unread.
"""

from __future__ import annotations

import asyncio
import contextlib

from millpond.api.sending import Message, Receive
from millpond.errors import Stalled

IDLE_S = 60.0
LINGER_S = 2.0
LINGER_BYTES = 1 << 20


class Incoming:
    """An ASGI `receive` that knows whether the body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._begun = self._ended = False

    async def __call__(self) -> Message:
        """Give the next message."""
        message = await self._receive()
        self._begun = True
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def linger(self, *, expects: bool) -> None:
        """After an early answer: let the client read it before the connection is closed.

        `expects`: it asked whether it may send its body (Expect: 100-continue); the answer was no, so none comes.
        """
        if expects and not self._begun:
            return
        dropped = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._ended:
                    if dropped < LINGER_BYTES:
                        dropped += len((await self()).get("body", b""))
                    else:
                        await asyncio.sleep(LINGER_S)


async def next_message(receive: Receive) -> Message:
    """Give the next message of a body. Raises `Stalled` when none comes for `IDLE_S`."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await receive()
    except TimeoutError as error:
        raise Stalled(
            f"nothing of the upload came for {IDLE_S:.0f} s, and nothing of it is kept: upload again"
        ) from error
