"""Requests that are handed on: asked upstream, and answered as the upstream does, with limits and nothing stored.

A question that is not worth an outage (`Errand.quiet`) is answered with nothing found when the upstream can't be asked
in time. The upstream's own 4xx is its verdict and is handed on; whatever else is no answer counts as "can't be asked".
At most `MAX_UNDER_WAY` bodies are in memory at a time, for each repository.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from millpond.artifacts import freshness, soundness
from millpond.artifacts.answer import cache_status
from millpond.artifacts.landing import Pond, Remote
from millpond.artifacts.model import Body, Errand
from millpond.artifacts.ports import UpstreamReply
from millpond.artifacts.spool import Aborted
from millpond.errors import UpstreamUnreachable

MAX_UNDER_WAY = 8
CHUNK_BYTES = 64 * 1024
OK, CLIENT_ERRORS, SERVER_ERRORS = 200, 400, 500
NO_VERDICTS = frozenset({401, 403, 407, 408, 429})
ReadBody = Callable[[int], Awaitable[bytes]]
"""Gives the client's body of at most so many bytes; raises `TooLarge`, `Stalled`, `BadRequest`."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What is answered: a body whose beginning is `start`, or (`status` not 200) why not.

    `rest`: what is still to come, None: nothing.
    """

    status: int
    content_type: str = ""
    start: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    reason: str = ""
    happened: str = ""
    retry_after_s: float | None = None
    size: int | None = field(default=None)
    """The body's length, where it is known."""


class Errands:
    """Runs the errands of one remote repository."""

    def __init__(self, remote: Remote, pond: Pond) -> None:
        self._remote, self._pond = remote, pond
        self._slots = asyncio.Semaphore(MAX_UNDER_WAY)
        self._failing = False

    @contextlib.asynccontextmanager
    async def run(self, errand: Errand, read_body: ReadBody, headers: Mapping[str, str]) -> AsyncIterator[Told]:
        """Ask, and give what is answered; its `rest` must be read within the context."""
        try:
            async with asyncio.timeout(self._remote.patience_s):
                await self._slots.acquire()
        except TimeoutError:
            yield self._unanswered(errand, f"{MAX_UNDER_WAY} such requests are under way already", "busy")
            return
        try:
            body = await read_body(errand.max_request_bytes) if errand.max_request_bytes else b""
            async with contextlib.AsyncExitStack() as stack:
                yield await self._asked(errand, body, headers, stack)
        finally:
            self._slots.release()

    async def _asked(
        self, errand: Errand, body: bytes, headers: Mapping[str, str], stack: contextlib.AsyncExitStack
    ) -> Told:
        url = self._remote.upstream.base_url + errand.upstream_path
        sent = {name: headers[name] for name in errand.headers if headers.get(name)} | {"accept": errand.accept}
        try:
            async with asyncio.timeout(self._remote.patience_s):
                request = self._remote.upstream.request(errand.method, url, sent, body)
                told = await self._received(errand, await stack.enter_async_context(request))
        except TimeoutError:
            return self._unanswered(errand, f"no answer within {self._remote.patience_s:g} s", "timeout")
        except UpstreamUnreachable as error:
            return self._unanswered(errand, str(error), error.kind, error.retry_after_s)
        if self._failing:
            self._failing = False
            log.info("the upstream's services answer again", repository=self._remote.name)
        return told

    async def _received(self, errand: Errand, reply: UpstreamReply) -> Told:
        """Read an answer's beginning, or all of a small one. Raises `UpstreamUnreachable` for what is none."""
        status = reply.head.status
        if CLIENT_ERRORS <= status < SERVER_ERRORS and status not in NO_VERDICTS:
            reason = f"the upstream answered {status} to this request"
            return Told(status, reason=reason, happened=cache_status("fwd=bypass", f"fwd-status={status}"))
        if status != OK:
            wish_s = freshness.retry_after_s(reply.head.headers, self._pond.clock.now())
            raise UpstreamUnreachable(f"the upstream answered {status}", kind=f"status-{status}", retry_after_s=wish_s)
        body = Body(prefixes=errand.prefixes, max_bytes=errand.max_reply_bytes)
        _reject(soundness.unsound_head(body, reply.head, None))
        chunks = reply.chunks(CHUNK_BYTES)
        start, ended = await _beginning(chunks)
        _reject(soundness.unsound_start(body, start[: soundness.PROBE_BYTES], None))
        rest = None if ended else _limited(chunks, errand.max_reply_bytes - len(start))
        size = len(start) if ended else reply.head.length
        kind = reply.head.headers.get("content-type", "")
        return Told(OK, kind, start, rest, happened=cache_status("fwd=bypass", "fwd-status=200"), size=size)

    def _unanswered(self, errand: Errand, why: str, kind: str, retry_after_s: float | None = None) -> Told:
        self._pond.metrics.upstream_failed(self._remote.name, kind)
        if not self._failing:
            self._failing = True
            log.warning("the upstream's services fail", repository=self._remote.name, error=why)
        happened = cache_status("fwd=bypass", detail=kind)
        if errand.quiet is None:
            return Told(502, reason=why, happened=happened, retry_after_s=retry_after_s)
        return Told(OK, errand.accept, errand.quiet, happened=happened, size=len(errand.quiet))


async def _beginning(chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Read up to `CHUNK_BYTES` of a body; tells whether that was all of it."""
    start = b""
    async for chunk in chunks:
        start += chunk
        if len(start) >= CHUNK_BYTES:
            return start, False
    return start, True


async def _limited(chunks: AsyncIterator[bytes], left: int) -> AsyncIterator[bytes]:
    """Hand the rest of a body on. Raises `Aborted` when it is too long, or breaks."""
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise Aborted("the upstream's answer is larger than such an answer may be")
            yield chunk
    except UpstreamUnreachable as error:
        raise Aborted(str(error)) from error


def _reject(why: str | None) -> None:
    if why is not None:
        raise UpstreamUnreachable(f"the upstream's answer is none: {why}", kind="unsound")
