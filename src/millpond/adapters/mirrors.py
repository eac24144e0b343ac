"""A list of mirrors as an upstream: one of them is asked, and goes on being asked until it fails. `ports.Upstream`.

Mirrors need not be of one generation, so that one is kept to; what is promised is verified, whoever gives it. Whoever
fails (no answer, an error, bytes that are not the promised ones) is left alone for a while, and the next one takes its
place. What one mirror does not have is looked for at a few others. The list is asked for again once an hour; while it
can't be had the one at hand goes on.

The list names the mirrors, nobody here does: their addresses are checked like those of redirects (`dialling`), and the
list's credentials stay with its own origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from millpond.adapters.upstream import HttpReply, HttpUpstream
from millpond.artifacts.circuit import fails
from millpond.clock import Clock
from millpond.errors import UpstreamUnreachable

LIST_S, RETRY_S, PENALTY_S = 3600.0, 30.0, 300.0
MOST_ASKED, MOST_MISSED = 5, 3
"""Mirrors that are asked for one thing: while they fail, and while they have no such thing."""
PIECE_BYTES = 16 * 1024
OK, GONE, REFUSED = 200, frozenset({404, 410}), frozenset({401, 403})
HEAD_FILES = ("repomd.xml", "repomd.xml.asc")
"""What is of one moment, so that another mirror's would not do."""


class ListReader(Protocol):
    """Reads the mirrors out of a list, as it comes."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `ValueError`."""

    def close(self) -> tuple[str, ...]:
        """Give the mirrors' base URLs, each with a slash at its end. Raises `ValueError`."""


class MirrorUpstream:
    """The mirrors of a list; wraps the upstream that asks for all of it. `own`: paths that are the list itself."""

    def __init__(
        self, inner: HttpUpstream, list_url: str, clock: Clock, reader: Callable[[], ListReader], own: frozenset[str]
    ) -> None:
        self._inner, self._list_url, self._clock = inner, list_url, clock
        self._reader, self._own = reader, own
        parts = urlsplit(list_url)
        self.base_url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
        """Stands for whichever mirror is asked."""
        self._mirrors: tuple[str, ...] = ()
        self._current = ""
        self._renew_at = float("-inf")
        self._failed: dict[str, float] = {}
        self._renewing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"MirrorUpstream({self._inner!r})"

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[HttpReply]:
        """Ask a mirror. See `ports.Upstream`."""
        path = url.removeprefix(self.base_url)
        if path in self._own:
            async with self._inner.request(method, self._list_url, headers, body) as reply:
                yield reply
            return
        async with AsyncExitStack() as stack:
            mirror, reply = await self._answer(stack, method, path, headers, body)
            try:
                yield reply
            except UpstreamUnreachable:
                self._fail(mirror)
                raise

    def status(self) -> Mapping[str, object]:
        """Tell how it goes, and which mirror is asked of how many."""
        return {**self._inner.status(), "mirror": _shown(self._current), "mirrors": len(self._mirrors)}

    async def close(self) -> None:
        """Close the connections."""
        await self._inner.close()

    async def _answer(
        self, stack: AsyncExitStack, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[str, HttpReply]:
        """Ask one mirror after the other; what the last one says counts. Raises `UpstreamUnreachable`."""
        order = await self._order()
        missed = 0
        for place, mirror in enumerate(order):
            last = place + 1 == len(order)
            async with AsyncExitStack() as one:
                try:
                    reply = await one.enter_async_context(self._inner.request(method, mirror + path, headers, body))
                except UpstreamUnreachable:
                    self._fail(mirror)
                    if last:
                        raise
                    continue
                status = reply.head.status
                if fails(status) or status in REFUSED:
                    self._fail(mirror)
                elif status in GONE and path.rpartition("/")[2] not in HEAD_FILES:
                    missed += 1
                    last = last or missed >= MOST_MISSED
                else:
                    last = True
                if last:
                    stack.push_async_exit(one.pop_all().__aexit__)
                    return mirror, reply
        raise AssertionError(order)  # pragma: no cover - the last one returns or raises

    def _fail(self, mirror: str) -> None:
        """Leave a mirror alone for a while; the next one takes its place."""
        now = self._clock.monotonic()
        self._failed = {one: until for one, until in self._failed.items() if until > now}
        self._failed[mirror] = now + PENALTY_S
        if mirror == self._current:
            left = [one for one in self._mirrors if one not in self._failed]
            self._current = left[0] if left else self._current

    async def _order(self) -> list[str]:
        """Say whom to ask: the current mirror, then the others; those that failed lately last."""
        await self._renew()
        now = self._clock.monotonic()
        others = [one for one in self._mirrors if one != self._current]
        ordered = sorted([self._current, *others], key=lambda one: self._failed.get(one, 0.0) > now)
        return ordered[:MOST_ASKED]

    async def _renew(self) -> None:
        """Have a list at hand. Raises `UpstreamUnreachable` when there is none to be had, and none from before."""
        if self._clock.monotonic() < self._renew_at:
            return
        async with self._renewing:
            if self._clock.monotonic() < self._renew_at:
                return
            try:
                self._mirrors = await self._listed()
            except UpstreamUnreachable:
                if not self._mirrors:
                    raise
                self._renew_at = self._clock.monotonic() + RETRY_S
                return
            self._renew_at = self._clock.monotonic() + LIST_S
            if self._current not in self._mirrors:
                self._current = self._mirrors[0]

    async def _listed(self) -> tuple[str, ...]:
        reader = self._reader()
        try:
            async with self._inner.request("GET", self._list_url, {"Accept": "*/*"}) as reply:
                if reply.head.status != OK:
                    status = reply.head.status
                    raise UpstreamUnreachable(f"the list of mirrors answers {status}", kind=f"status-{status}")
                async for chunk in reply.chunks(PIECE_BYTES):
                    reader.feed(chunk)
                    await asyncio.sleep(0)
            return reader.close()
        except ValueError as error:
            raise UpstreamUnreachable(f"the list of mirrors can't be read: {error}", kind="unsound") from error


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if url else ""
