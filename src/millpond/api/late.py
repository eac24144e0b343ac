"""An ASGI application that is made when it is first asked for.

Importing and building the control API takes a third as long as everything else that a worker needs to serve artifacts.
So it is left until somebody asks it something, and done in a thread: artifacts are served meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from millpond.api.sending import Asgi, Receive, Scope, Send


class Late:
    """Calls what `make` gives, which runs once, in a thread; belongs to one event loop.

    What `make` raises, whoever asked gets; the next one tries again.
    """

    def __init__(self, make: Callable[[], Asgi]) -> None:
        self._make = make
        self._made: Asgi | None = None
        self._making: asyncio.Task[Asgi] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        made = self._made or await self._first()
        await made(scope, receive, send)

    async def _first(self) -> Asgi:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
            self._making.add_done_callback(self._tried)
        return await asyncio.shield(self._making)  # it serves all who wait, whoever leaves

    def _tried(self, making: asyncio.Task[Asgi]) -> None:
        self._making = None
        if not making.cancelled() and making.exception() is None:
            self._made = making.result()
            gc.freeze()  # as what was imported before: no full collection need look at it
