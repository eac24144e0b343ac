"""The control socket: who may use it, what it answers, and how progress and faults come through."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from millpond.errors import (
    BadRequest,
    Busy,
    ConfigError,
    Conflict,
    Denied,
    DigestMismatch,
    MillpondError,
    NotAllowed,
    NotFound,
    OutOfSpace,
    Stalled,
    TooLarge,
    UpstreamUnreachable,
)
from millpond.server.control import MAX_ADDRESS_BYTES, MAX_REQUEST_BYTES, ControlServer, Progress, call

KINDS = (BadRequest, Busy, Conflict, Denied, DigestMismatch, NotAllowed, NotFound, OutOfSpace, Stalled, TooLarge)
FAULTS: dict[str, type[MillpondError]] = {kind.__name__: kind for kind in KINDS}


async def add(progress: Progress, a: int, b: int) -> dict[str, int]:
    for step in range(3):
        progress("adding", step, 3)
        await asyncio.sleep(0)
    return {"sum": a + b}


async def fail(progress: Progress, kind: str) -> None:
    raise FAULTS[kind](f"{kind}: this went wrong; do that")


async def break_down(progress: Progress) -> None:
    raise ZeroDivisionError("a mistake of ours")


async def hang(progress: Progress) -> None:
    progress("hanging", 0, None)
    await asyncio.sleep(3600)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "c.sock", {"add": add, "fail": fail, "break_down": break_down, "hang": hang})
    await server.start()
    yield tmp_path / "c.sock"
    await server.close()


def silent(text: str, done: int, total: int | None) -> None:
    pass


async def raw(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Send bytes as they are and give the lines that come back."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    writer.write_eof()
    lines = [json.loads(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return lines


async def test_only_the_owner_of_the_data_may_connect(path: Path):
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_result_comes_after_the_progress(path: Path):
    told: list[tuple[str, int, int | None]] = []
    result = await call(path, "add", {"a": 2, "b": 3}, lambda *words: told.append(words))
    assert result == {"sum": 5}
    assert told == [("adding", 0, 3), ("adding", 1, 3), ("adding", 2, 3)]


async def test_it_is_one_json_document_a_line(path: Path):
    lines = await raw(path, b'{"operation": "add", "arguments": {"a": 1, "b": 1}}\n')
    assert lines == [*({"progress": ["adding", n, 3]} for n in range(3)), {"result": {"sum": 2}}]


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_comes_back_as_the_same_fault(path: Path, kind: str):
    with pytest.raises(FAULTS[kind], match="this went wrong; do that"):
        await call(path, "fail", {"kind": kind}, silent)


async def test_a_refused_configuration_comes_back_with_all_its_mistakes(tmp_path: Path):
    async def reload(progress: Progress) -> None:
        raise ConfigError("file: [server] prot: unknown key", "file: [server] host: not an address")

    server = ControlServer(tmp_path / "c.sock", {"reload": reload})
    await server.start()
    with pytest.raises(ConfigError) as refused:
        await call(tmp_path / "c.sock", "reload", {}, silent)
    await server.close()
    assert refused.value.problems == ("file: [server] prot: unknown key", "file: [server] host: not an address")


async def test_what_a_fault_has_beside_its_text_comes_through(tmp_path: Path):
    kept = [
        Denied("no", authenticate=True),
        Denied("never"),
        UpstreamUnreachable("away", kind="tls", retry_after_s=7.5),
        UpstreamUnreachable("away", kind="connect"),
    ]

    async def refuse(progress: Progress, which: int) -> None:
        raise kept[which]

    server = ControlServer(tmp_path / "c.sock", {"refuse": refuse})
    await server.start()
    for which, meant in enumerate(kept):
        with pytest.raises(type(meant)) as caught:
            await call(tmp_path / "c.sock", "refuse", {"which": which}, silent)
        assert (str(caught.value), vars(caught.value)) == (str(meant), vars(meant))
    await server.close()


async def test_a_kind_of_fault_that_is_not_known_here_is_a_fault_all_the_same(path: Path):
    class Newer(MillpondError):
        pass

    FAULTS["Newer"] = Newer
    try:
        with pytest.raises(MillpondError, match="this went wrong") as caught:
            await call(path, "fail", {"kind": "Newer"}, silent)
    finally:
        del FAULTS["Newer"]
    assert type(caught.value) is MillpondError


async def test_a_socket_that_can_not_be_listened_on_is_closed_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: list[socket.socket] = []

    async def full(*_: Any, sock: socket.socket, **__: Any) -> None:
        given.append(sock)
        raise OSError("no room")

    monkeypatch.setattr(asyncio, "start_unix_server", full)
    with pytest.raises(OSError, match="no room"):
        await ControlServer(tmp_path / "c.sock", {}).start()
    assert given[0].fileno() == -1
    assert not (tmp_path / "c.sock").exists()


async def test_a_mistake_of_ours_is_an_error_for_the_caller_and_the_daemon_serves_on(path: Path):
    with pytest.raises(MillpondError, match="a mistake of ours"):
        await call(path, "break_down", {}, silent)
    assert await call(path, "add", {"a": 1, "b": 1}, silent) == {"sum": 2}


async def test_an_unknown_operation_is_refused_by_name(path: Path):
    with pytest.raises(BadRequest, match="no_such_thing"):
        await call(path, "no_such_thing", {}, silent)


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"\n",
        b"not json\n",
        b"[]\n",
        b"7\n",
        b'{"operation": "add"}\n',
        b'{"operation": ["add"], "arguments": {}}\n',
        b'{"operation": "add", "arguments": []}\n',
        b'{"operation": "add", "arguments": {"c": 1}}\n',
        b'{"operation": "add", "arguments": {"progress": 1}}\n',
        b"\xff\xfe\n",
        b"x" * (MAX_REQUEST_BYTES + 10),
    ],
    ids=lambda line: repr(line[:30]),
)
async def test_what_is_no_request_is_refused_and_the_daemon_serves_on(path: Path, request_line: bytes):
    (answer,) = await raw(path, request_line)
    assert answer["kind"] == "BadRequest"
    assert await call(path, "add", {"a": 1, "b": 1}, silent) == {"sum": 2}


async def test_one_long_operation_does_not_hold_up_another(path: Path):
    began = asyncio.Event()
    waiting = asyncio.create_task(call(path, "hang", {}, lambda *_: began.set()))
    await began.wait()
    assert await call(path, "add", {"a": 1, "b": 1}, silent) == {"sum": 2}
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_what_was_begun_ends_although_who_asked_has_left(tmp_path: Path):
    """Under the daemon's own loop: there a write to a connection that is gone raises what asyncio's does not."""
    told: list[int] = []
    ended: list[bool] = []

    async def long(progress: Progress) -> None:
        for number in range(200):
            progress("web1", number, 200)
            told.append(number)
            await asyncio.sleep(0.005)
        ended.append(True)

    async def leave() -> None:
        control = ControlServer(tmp_path / "c.sock", {"long": long})
        await control.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
        writer.write(json.dumps({"operation": "long", "arguments": {}}).encode() + b"\n")
        await reader.readline()
        writer.close()
        async with asyncio.timeout(60):
            while not ended:
                await asyncio.sleep(0.05)
        await control.close()

    uvloop.run(leave())
    assert told == list(range(200))


async def test_closing_ends_what_runs_and_its_caller_is_told(tmp_path: Path):
    path, ended = tmp_path / "c.sock", asyncio.Event()

    async def work(progress: Progress) -> None:
        progress("working", 0, None)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    server = ControlServer(path, {"work": work})
    await server.start()
    began = asyncio.Event()
    waiting = asyncio.create_task(call(path, "work", {}, lambda *_: began.set()))
    await began.wait()
    await server.close()
    assert ended.is_set()
    with pytest.raises(ConnectionResetError, match="try again"):
        await waiting


async def test_a_socket_that_a_dead_daemon_left_is_replaced(tmp_path: Path):
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        await call(path, "add", {"a": 1, "b": 1}, silent)
    server = ControlServer(path, {"add": add})
    await server.start()
    assert await call(path, "add", {"a": 1, "b": 1}, silent) == {"sum": 2}
    await server.close()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        await call(path, "add", {"a": 1, "b": 1}, silent)


@pytest.mark.parametrize("length", [MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES + 1, 200, 1000])
def test_a_data_directory_may_have_any_length(tmp_path: Path, length: int):
    """The kernel has room for 107 bytes of a socket's path, a test runner's or a company's folders are longer."""
    folder = tmp_path
    while (left := length - len(str(folder / "c.sock"))) > 0:
        folder /= "d" * min(left - 1, 200)
    folder.mkdir(parents=True)
    path = folder / "c.sock"
    assert len(str(path)) == length

    async def asked() -> None:
        server = ControlServer(path, {"add": add})
        await server.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await call(path, "add", {"a": 1, "b": 1}, silent) == {"sum": 2}
        await server.close()
        assert not path.exists()
        with pytest.raises(FileNotFoundError):
            await call(path, "add", {"a": 1, "b": 1}, silent)

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(asked())
    uvloop.run(asked())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_a_daemon_that_stops_amid_an_operation_is_no_result(tmp_path: Path):
    path = tmp_path / "c.sock"

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"progress": ["collecting", 1, 2]}\n')
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(die, path)
    told: list[tuple[str, int, int | None]] = []
    with pytest.raises(ConnectionResetError, match="try again"):
        await call(path, "gc", {}, lambda *words: told.append(words))
    assert told == [("collecting", 1, 2)]
    server.close()
    await server.wait_closed()
