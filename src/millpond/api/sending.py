"""Bodies on their way to a client, as plain ASGI: bounded memory, no blocking, and an end for idle clients.

A server that offers `http.response.zerocopysend` is told where the bytes lie, in the stored file or in the file that
still grows; any other one gets them. What the kernel does not have in memory is read in a thread first (`preadv2` with
RWF_NOWAIT tells), so that nobody waits for the disk. When a flight fails, the response is left unfinished, so that the
client sees a broken transfer, never a short file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from millpond.artifacts.answer import Answer
from millpond.artifacts.flights import Flight
from millpond.artifacts.formats.base import Transducer
from millpond.artifacts.spool import Aborted, Region, Tape

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Piece: TypeAlias = bytes | Region

ZERO_COPY = "http.response.zerocopysend"
CHUNK_BYTES = 256 * 1024
SEND_TIMEOUT_S = 60.0


class Gone(Exception):
    """The client left, or stopped reading."""


async def start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Send the head."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def finish(send: Send, body: bytes = b"") -> None:
    """Send the last (or only) piece of the body."""
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_pieces(pieces: AsyncIterator[Piece], receive: Receive, send: Send) -> int:
    """Send a body piece by piece; gives the bytes sent. Raises `Gone` or `Aborted`, leaving the response unfinished."""
    sent = 0
    async with _listening(receive) as left:
        async for piece in pieces:
            if left.done():
                raise Gone
            await _send_in_time(send, piece)
            sent += len(piece)
    await finish(send)
    return sent


async def _send_in_time(send: Send, piece: Piece) -> None:
    message: Message = {"type": "http.response.body", "body": piece, "more_body": True}
    if isinstance(piece, Region):
        place = {"file": piece.fd, "offset": piece.offset, "count": piece.size}
        message = {"type": ZERO_COPY, **place, "more_body": True}
    # Of a region's way the server knows more: it sees what the client takes, and gives it up itself.
    try:
        async with asyncio.timeout(None if isinstance(piece, Region) else SEND_TIMEOUT_S):
            await send(message)
    except TimeoutError as error:
        raise Gone from error
    except EOFError as error:
        raise Aborted("the stored file is shorter than it was") from error


@contextlib.asynccontextmanager
async def _listening(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """Listen for the client's leaving: a server drops what is sent to one that has left without a word."""
    task = asyncio.create_task(_until_left(receive))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class OpenFile:
    """A file open for reading; opening it early makes sure that what was promised in the head can be kept."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    async def pieces(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Give the bytes from `begin` up to, not including, `end`."""
        while begin < end:
            piece = await self._read(begin, min(CHUNK_BYTES, end - begin))
            if not piece:
                raise Aborted("the stored file is shorter than it was")
            yield piece
            begin += len(piece)

    async def regions(self, begin: int, end: int) -> AsyncIterator[Region]:
        """Say where they are, piece by piece; each is in memory by then."""
        while begin < end:
            region = Region(self._fd, begin, min(CHUNK_BYTES, end - begin))
            if not self._in_memory(region):
                await asyncio.to_thread(os.pread, self._fd, region.size, begin)
            yield region
            begin += region.size

    def _in_memory(self, region: Region) -> bool:
        """Whether its last byte is: the kernel reads ahead in pieces as large as ours."""
        try:
            return os.preadv(self._fd, [bytearray(1)], region.offset + region.size - 1, os.RWF_NOWAIT) == 1
        except OSError:
            return False

    async def _read(self, offset: int, size: int) -> bytes:
        buffer = bytearray(size)
        try:
            got = os.preadv(self._fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN: not in memory; EOPNOTSUPP: this file system can't tell
            return await asyncio.to_thread(os.pread, self._fd, size, offset)
        return bytes(memoryview(buffer)[:got]) if got else await asyncio.to_thread(os.pread, self._fd, size, offset)

    def small(self, begin: int, end: int) -> bytes | None:
        """Give a small region at once, if it is in memory."""
        if end - begin > CHUNK_BYTES:
            return None
        buffer = bytearray(end - begin)
        try:
            got = os.preadv(self._fd, [buffer], begin, os.RWF_NOWAIT) if buffer else 0
        except OSError:
            return None
        return bytes(buffer) if got == len(buffer) else None

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


P = TypeVar("P", bytes, Piece)


async def flight_pieces(
    tape: Tape, begin: int, end: int | None, take: Callable[[int, int], Awaitable[P]]
) -> AsyncIterator[P]:
    """Give a flight's bytes (or say where they lie: `take` is the tape's `read` or `take`) as they come.

    `end` None: all of them.
    """
    reader = tape.attach(begin)
    try:
        left = None if end is None else end - begin
        if left == 0:
            await take(reader, 1)  # nothing is to come, but that is right only if the flight ends well
        while left is None or left > 0:
            piece = await take(reader, CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            yield piece
    finally:
        tape.detach(reader)


async def rewritten_pieces(pieces: AsyncIterator[bytes], rewriter: Transducer) -> AsyncIterator[bytes]:
    """Rewrite a document on its way. Raises `Aborted` when it is no such document, or lacks the part."""
    empty = True
    try:
        async for piece in pieces:
            out = rewriter.feed(piece)
            if out:
                empty = False
                yield out
        rest = rewriter.close()
    except ValueError as error:
        raise Aborted(str(error)) from error
    if empty and not rest:
        raise Aborted("the document has no such part")
    yield rest


def arriving_pieces(answer: Answer, begin: int, end: int | None, *, regions: bool) -> AsyncIterator[Piece]:
    """Give the pieces of an answer whose body is a flight; `regions`: say where they lie, if they lie in a file."""
    assert isinstance(answer.body, Flight)  # noqa: S101 - the caller asked
    tape = answer.body.tape
    assert tape is not None  # noqa: S101 - such an answer is made only once bytes come
    if answer.rewriter is not None:
        return rewritten_pieces(flight_pieces(tape, begin, end, tape.read), answer.rewriter)
    return flight_pieces(tape, begin, end, tape.take if regions else tape.read)
