"""Requests that a format has handed on, over HTTP: the client's body in, the upstream's answer out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from millpond.api import sending
from millpond.api.artifacts import ArtifactServer, Exchange
from millpond.api.receiving import next_message
from millpond.api.sending import Piece, Receive
from millpond.artifacts.errands import Told
from millpond.artifacts.formats.base import PassesOn
from millpond.artifacts.model import Errand, Said
from millpond.artifacts.proxy import Proxy
from millpond.artifacts.spool import Aborted
from millpond.errors import BadRequest, Denied, MillpondError, NotAllowed, TooLarge

OK = 200
_REFUSALS: Mapping[int, type[MillpondError]] = {400: BadRequest, 403: Denied, 405: NotAllowed}
_TYPE = "application/json"


def errand_of(
    repository: object, method: str, path: str, query: str, headers: Mapping[str, str]
) -> Errand | Said | None:
    """Ask a repository's format whether a request is for a service beside its artifacts."""
    if isinstance(repository, Proxy) and isinstance(repository.format, PassesOn):
        return repository.format.errand(method, path, query, headers)
    return None


@dataclass(frozen=True, slots=True)
class ErrandServer:
    """Answers errands; errors as the artifacts' server writes them."""

    artifacts: ArtifactServer

    async def serve(self, repository: Proxy, errand: Errand | Said, exchange: Exchange) -> None:
        """Answer one request. Raises `TooLarge`, `Stalled`, and what a format has said to it."""
        if isinstance(errand, Said):
            if errand.status != OK:
                raise _REFUSALS[errand.status](errand.reason)
            await self._answer(repository, Told(OK, _TYPE, errand.body, size=len(errand.body)), exchange)
            return
        headers = exchange.request.headers

        async def read(limit: int) -> bytes:
            return await _body(exchange.receive, headers, limit)

        async with repository.errands.run(errand, read, headers) as told:
            try:
                await self._answer(repository, told, exchange)
            except (Aborted, sending.Gone):
                return  # the response stays unfinished: the server closes the connection

    async def _answer(self, repository: Proxy, told: Told, exchange: Exchange) -> None:
        more = [(b"cache-status", f"millpond; {told.happened}".encode())] if told.happened else []
        if told.status != OK:
            more += self.artifacts.retry_after(told.retry_after_s)
            await self.artifacts.refuse(repository.name, told.status, told.reason, exchange, *more)
            return
        head = [(b"content-type", (told.content_type or _TYPE).encode("latin-1", "replace")), *more]
        head += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        if told.size is not None:
            head.append((b"content-length", b"%d" % told.size))
        await sending.start(exchange.send, OK, head)
        if exchange.request.method == "HEAD":
            await sending.finish(exchange.send)
        else:
            await sending.send_pieces(_pieces(told), exchange.receive, exchange.send)


async def _pieces(told: Told) -> AsyncIterator[Piece]:
    if told.start:
        yield told.start
    if told.rest is not None:
        async for chunk in told.rest:
            yield chunk


async def _body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """Read a request's body. Raises `TooLarge`, `Stalled`, `BadRequest`."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > limit:
        raise TooLarge(f"the body has {length[:20]} bytes, more than the {limit} that such a request may have")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await next_message(receive)
        if message["type"] == "http.disconnect":
            raise BadRequest("the client left before its request was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise TooLarge(f"the body has more than the {limit} bytes that such a request may have")
        if not message.get("more_body"):
            return b"".join(parts)
