"""What the supervisor and its workers tell each other: JSON lines over a pair of sockets, one pair for each worker.

Down: ``{"take": N, "file": PATH}`` (take this configuration), ``{"told": ID, ...}`` (what came of your question).
Up: ``{"ask": ID}`` (somebody wants a reload), ``{"took": N, "error": TEXT or null}``.

Either end may die at any time: then there is nobody to tell, and the supervisor notices by the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from millpond.errors import ConfigError, MillpondError

Message = dict[str, Any]
Take = Callable[[Path], Awaitable[None]]
MAX_LINE_BYTES = 1 << 20


class Line:
    """The supervisor's end: a socket that never blocks, with what did not fit into it yet and what is half heard."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._unsent = self._begun = b""

    def tell(self, message: Message) -> None:
        """Send one message, as far as the worker reads; `flush` sends the rest."""
        self._unsent += _line(message)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the worker reads."""
        with contextlib.suppress(OSError):  # it reads nothing now, or is gone
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]

    def heard(self) -> list[Message] | None:
        """Give the messages that came; None: the other end is gone."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._begun = (self._begun + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Superior:
    """A worker's end: takes configurations as it is told to, and asks for a reload of all workers."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}

    async def listen(self, take: Take) -> None:
        """Begin; `take` reads a configuration that was written down, and raises what is against it."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._sock, limit=MAX_LINE_BYTES)
        self._listening = asyncio.create_task(self._listen(reader, take))

    async def _listen(self, reader: asyncio.StreamReader, take: Take) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            if "take" in message:
                self._tell({"took": message["take"], "error": await _error_of(take, Path(message["file"]))})
            elif (waiting := self._asked.pop(message["told"], None)) is not None and not waiting.done():
                waiting.set_result(message)

    async def ask(self) -> None:
        """Have every worker take the configuration as it is now.

        Raises `ConfigError` when it is refused, `MillpondError` naming the workers that did not take it, and why.
        """
        number = next(self._numbers)
        waiting = self._asked[number] = asyncio.get_running_loop().create_future()
        self._tell({"ask": number})
        told = await waiting
        if told["refused"]:
            raise ConfigError(*told["refused"])
        if told["failed"]:
            raise MillpondError("not reloaded: " + "; ".join(told["failed"]))

    def _tell(self, message: Message) -> None:
        assert self._writer is not None  # noqa: S101 - `listen` comes first
        self._writer.write(_line(message))

    async def close(self) -> None:
        """Hear no more; who still waits for an answer gets none."""
        if self._listening is None or self._writer is None:
            return
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.transport.abort()  # nothing is waited for: the supervisor may read no more
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        for waiting in self._asked.values():
            waiting.cancel()


async def _error_of(take: Take, file: Path) -> str | None:
    """Take a configuration; gives what was against it."""
    try:
        await take(file)
    except (MillpondError, OSError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a fault of ours; whoever asked is told, and this worker serves on
        return f"{type(error).__name__}: {error}"
    return None


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"
