"""Notifications through apprise: a hundred services, each named by one URL.

apprise is heavy, and some of its services wait long: a message is sent by a child process that imports it, with a
time-out, and that is all of it in memory. The URLs are secrets: they go to the child over its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import structlog

from millpond.adapters.processes import run_program

TIMEOUT_S = 60.0
MAX_SAID = 64 * 1024
MAX_TITLE, MAX_BODY = 200, 8000
_BOOT = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from millpond.adapters.notify_child import send; sys.exit(send(**given))"
)
log = structlog.get_logger(__name__)


class AppriseNotifier:
    """Sends to every URL; one message at a time."""

    def __init__(self, urls: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._urls, self._timeout_s = list(urls), timeout_s
        self._turn = asyncio.Lock()

    async def notify(self, title: str, body: str) -> None:
        """Send one message. Never raises."""
        if not self._urls:
            return
        given = {"path": sys.path, "urls": self._urls, "title": title[:MAX_TITLE], "body": body[:MAX_BODY]}
        argv = [sys.executable, "-I", "-c", _BOOT]
        async with self._turn:
            try:
                ended = await run_program(
                    argv, timeout_s=self._timeout_s, max_output_bytes=MAX_SAID, stdin=json.dumps(given).encode()
                )
            except TimeoutError:
                log.warning("a notification could not be sent in time", title=title, timeout_s=self._timeout_s)
                return
            except OSError as error:
                log.warning("a notification could not be sent", title=title, error=str(error))
                return
        if ended.rc != 0:
            log.warning("a notification was not taken by every service", title=title, failed=ended.out.strip()[:200])


class NoNotifier:
    """Tells nobody; what happened stands in the log and in the status."""

    async def notify(self, title: str, body: str) -> None:
        """Do nothing."""
        del title, body
