"""DATA/control.sock: how commands speak to a running daemon.

One request per connection, JSON lines: ``{"operation": ..., "arguments": {...}}`` in; any number of ``{"progress":
[text, done, total]}``
out, then ``{"result": ...}`` or ``{"error": text, "kind": name}``. The socket's file mode (0600) is the access rule:
who may
use it is who may read the data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from millpond import errors
from millpond.errors import MillpondError

Progress = Callable[[str, int, int | None], None]
Operation = Callable[..., Awaitable[Any]]
MAX_REQUEST_BYTES = 1 << 20
MAX_ADDRESS_BYTES = 107
"""What a Unix socket's address has room for (unix(7): sun_path, less the NUL)."""
log = structlog.get_logger(__name__)


class ControlServer:
    """Serves operations on a Unix socket."""

    def __init__(self, path: Path, operations: Mapping[str, Operation]) -> None:
        self._path, self._operations = path, operations
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen; a socket that a dead daemon left is replaced."""
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            with _address(self._path) as address:
                sock.bind(address)
        except BaseException:
            sock.close()
            raise
        finally:
            os.umask(before)
        try:
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_REQUEST_BYTES)
        except BaseException:
            sock.close()
            self._path.unlink(missing_ok=True)
            raise

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._running.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # cancelled: `close` ends this task
                answer = await self._answer(reader, writer)
                if not writer.is_closing():
                    _write(writer, answer)
                    await writer.drain()
        finally:
            self._running.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
        def progress(text: str, done: int, total: int | None) -> None:
            if not writer.is_closing():  # who asked may leave; what was begun comes to its end
                _write(writer, {"progress": [text, done, total]})

        try:
            request = json.loads(await reader.readline())
            operation, arguments = self._operations[request["operation"]], dict(request["arguments"])
            inspect.signature(operation).bind(progress=progress, **arguments)
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"not understood: {error}", "kind": "BadRequest"}
        try:
            return {"result": await operation(progress=progress, **arguments)}
        except MillpondError as error:
            return {"error": str(error), "kind": type(error).__name__, **_more(error)}
        except Exception as error:
            log.exception("a command failed", error=str(error))
            return {"error": f"{type(error).__name__}: {error}", "kind": "MillpondError"}

    async def close(self) -> None:
        """Stop listening, end what runs, and remove the socket. Callers see that their operation came to no end."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


async def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        with _address(path) as address:
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give the path as a socket's address: one that is too long for it goes by way of its opened folder (proc(5))."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def call(path: Path, operation: str, arguments: Mapping[str, Any], progress: Progress) -> Any:
    """Ask the daemon behind the socket. Raises its error, or `ConnectionError` when nobody listens."""
    reader, writer = await asyncio.open_unix_connection(sock=await _connected(path), limit=1 << 28)
    try:
        _write(writer, {"operation": operation, "arguments": dict(arguments)})
        await writer.drain()
        while line := await reader.readline():
            message = json.loads(line)
            if "progress" in message:
                progress(*message["progress"])
            elif "error" in message:
                raise _error(message)
            else:
                return message["result"]
    finally:
        writer.close()
    raise ConnectionResetError("the daemon stopped while it worked on this: try again")


_PLAIN = (
    *(errors.BadRequest, errors.NotFound, errors.NotAllowed, errors.Conflict, errors.TooLarge, errors.Stalled),
    *(errors.DigestMismatch, errors.Busy, errors.OutOfSpace),
)


def _more(error: MillpondError) -> dict[str, Any]:
    """Say what a fault has beside its text."""
    match error:
        case errors.Denied(authenticate=authenticate):
            return {"authenticate": authenticate}
        case errors.UpstreamUnreachable(kind=kind, retry_after_s=retry_after_s):
            return {"of": kind, "retry_after_s": retry_after_s}
    return {}


def _error(message: Mapping[str, Any]) -> MillpondError:
    """Make the fault that was told; one of a kind that is not known here is a `MillpondError`."""
    text, kind = str(message["error"]), message.get("kind", "")
    match kind:
        case "ConfigError":
            return errors.ConfigError(*text.split("\n"))
        case "Denied":
            return errors.Denied(text, authenticate=message.get("authenticate") is True)
        case "UpstreamUnreachable":
            after_s = message.get("retry_after_s")
            return errors.UpstreamUnreachable(text, kind=str(message.get("of", "")), retry_after_s=after_s)
    made = next((one for one in _PLAIN if one.__name__ == kind), MillpondError)
    return made(text)
