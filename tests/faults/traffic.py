"""How the fault tests speak to a pond: broken answers are told from whole ones, nothing is retried in secret."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from millpond.server import control
from millpond.testing.pond import PondProcess

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One answer. `whole`: it ended as its head promised."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def source(self) -> str:
        return self.headers.get("x-artifact-source", "")

    @property
    def happened(self) -> str:
        return self.headers.get("cache-status", "")


def fetch(
    pond: PondProcess,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Seen:
    """Ask once, on a connection of its own. Raises `OSError` or `http.client.HTTPException` when no head comes."""
    connection = http.client.HTTPConnection(pond.host, pond.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        got, whole = bytearray(), True
        try:
            while piece := answer.read(1 << 20):
                got += piece
        except (http.client.IncompleteRead, OSError) as error:
            got += getattr(error, "partial", b"")
            whole = False
        if method != "HEAD" and answer.length:  # `read(n)` says nothing of bytes that are missing
            whole = False
        return Seen(answer.status, {k.lower(): v for k, v in answer.getheaders()}, bytes(got), whole)
    finally:
        connection.close()


def upload(pond: PondProcess, path: str, body: bytes) -> Seen:
    return fetch(pond, f"/api/v1/remote/{path}", method="PUT", headers=admin(pond), body=body)


def admin(pond: PondProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {pond.admin_token}"}


def flush(pond: PondProcess) -> Seen:
    return fetch(pond, "/cache/flush", method="PUT", headers=admin(pond))


def operate(pond: PondProcess, operation: str, **arguments: Any) -> Any:
    """Run a command's operation in the daemon, as the command itself would.

    The first worker listens on the control socket: when it has just been started, it may be the last one to be ready.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return asyncio.run(control.call(pond.data / "control.sock", operation, arguments, lambda *_: None))
        except (ConnectionRefusedError, FileNotFoundError):
            assert time.monotonic() < deadline, "nobody listens on the control socket"
            time.sleep(0.05)


def entries(pond: PondProcess, repository: str) -> dict[str, dict[str, Any]]:
    """What the pond holds of a repository, by path (and variant)."""
    shown = operate(pond, "repo_show", name=repository, limit=10_000)["entries"]
    return {one["path"] + (f"#{one['variant']}" if one["variant"] else ""): one for one in shown}


def blobs(pond: PondProcess) -> set[str]:
    """The digests of the stored files."""
    return {path.name for path in (pond.data / "storage" / "blobs").rglob("*") if path.is_file()}


def content(name: str, size: int) -> bytes:
    """Bytes that follow from a name."""
    return random.Random(name).randbytes(size)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def until(what: Callable[[], bool], why: str, timeout_s: float = 60.0) -> None:
    """Wait for something that is bound to come. Fails with `why`."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The child processes of a process, oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(pond: PondProcess) -> list[int]:
    """The worker processes of a pond with several of them."""
    return children(pond.pid)


def waited_for_a_processor_s(pid: int) -> float:
    """How long a process's first thread was ready to run, and others had the processors (0 where that is not told)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def by_worker(pond: PondProcess, path: str, count: int = 2) -> dict[int, Seen]:
    """Ask each worker for the same path; connections are tried until every worker took one."""
    seen: dict[int, Seen] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while len(seen) < count:
        assert time.monotonic() < deadline, f"only the workers {sorted(seen)} take connections"
        with SlowReader(pond) as reader:
            number = reader.worker()
            if number not in seen:
                seen[number] = reader.ask(path).rest()
    return seen


@dataclass
class SlowReader:
    """A keep-alive client with a small receive buffer, that reads only as much as it is told to."""

    pond: PondProcess
    _buffer: bytes = b""
    _head: dict[str, str] = field(default_factory=dict)
    status: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect((self.pond.host, self.pond.port))

    def worker(self) -> int:
        """Find out which worker has this connection."""
        return int(json.loads(self.ask("/health").rest().body)["worker"])

    def ask(self, path: str) -> Self:
        """Send a request and read the answer's head."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.pond.host}:{self.pond.port}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self._buffer:
            piece = self._socket.recv(4096)
            if not piece:
                raise ConnectionResetError("no head came")
            self._buffer += piece
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines)
        self._head = {name.lower(): value.strip() for name, _, value in pairs}
        return self

    def rest(self) -> Seen:
        """Read the body to its end (its length must be known)."""
        length = int(self._head["content-length"])
        pieces, have = [self._buffer], len(self._buffer)
        while have < length:
            try:
                piece = self._socket.recv(min(1 << 18, length - have))
            except ConnectionResetError:
                break
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
        self._buffer = b""
        body = b"".join(pieces)
        return Seen(self.status, self._head, body, whole=len(body) == length)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
