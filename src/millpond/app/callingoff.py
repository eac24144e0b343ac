"""What is under way for an app, and can be called off: who asked for it may be gone long since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millpond.errors import MillpondError, NotFound


class UnderWay:
    """The deploys, rollbacks and pre-pulls of this process, by app."""

    def __init__(self) -> None:
        self._of: dict[str, list[asyncio.Timeout]] = {}

    @asynccontextmanager
    async def running(self, app: str) -> AsyncIterator[None]:
        """Let the work within be called off: it is cancelled then. Raises `MillpondError`, which says so."""
        scope = asyncio.timeout(None)
        self._of.setdefault(app, []).append(scope)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise MillpondError(f"{app}: it was called off; `millpond release ls {app}` tells what was begun") from None
        finally:
            self._of[app].remove(scope)

    def call_off(self, app: str) -> int:
        """Call off whatever is under way for an app; gives how much that is. Raises `NotFound`: nothing."""
        scopes = self._of.get(app, ())
        if not scopes:
            raise NotFound(f"nothing is under way for {app!r}: no deploy, rollback or pre-pull")
        now = asyncio.get_running_loop().time()
        for scope in scopes:
            if not scope.expired():
                scope.reschedule(now)
        return len(scopes)
