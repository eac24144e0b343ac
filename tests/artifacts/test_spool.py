"""A growing file that is read while it grows, and what happens when the disk is full."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millpond.artifacts.soundness import Verifier
from millpond.artifacts.spool import TAIL_BYTES, WINDOW_BYTES, Aborted, Mirror, Spool

ROOM = 1 << 30
MIB = 1 << 20


async def read_all(spool: Spool | Mirror, start: int = 0) -> bytes:
    reader = spool.attach(start)
    try:
        pieces = []
        while piece := await spool.read(reader, 100_000):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        spool.detach(reader)


@pytest.mark.parametrize("length", [None, 3 * MIB])
@pytest.mark.parametrize("threaded", [False, True])
async def test_readers_get_the_bytes_as_they_come(tmp_path: Path, length: int | None, threaded: bool):
    pool = ThreadPoolExecutor(1) if threaded else None
    spool, verifier, body = Spool(tmp_path, ROOM, length, pool), Verifier(), os.urandom(3 * MIB)
    readers = [asyncio.create_task(read_all(spool, start)) for start in (0, 0, 12345)]
    for at in range(0, len(body), 200_000):
        await spool.write(body[at : at + 200_000], verifier)
        await asyncio.sleep(0)
    await spool.settle()
    assert not any(task.done() for task in readers)
    spool.complete(len(body))
    assert [await task for task in readers] == [body, body, body[12345:]]
    assert verifier.digest() == "sha256:" + hashlib.sha256(body).hexdigest()
    spool.close()
    assert list(tmp_path.iterdir()) == []
    if pool:
        pool.shutdown()


@pytest.mark.parametrize("length", [None, MIB])
async def test_the_tail_is_withheld_until_the_bytes_are_right(tmp_path: Path, length: int | None):
    spool = Spool(tmp_path, ROOM, length)
    await spool.write(bytes(MIB), Verifier())
    assert spool.limit == MIB - TAIL_BYTES
    reader = spool.attach()
    got = 0
    while got < spool.limit:
        got += len(await spool.read(reader, MIB))
    waiting = asyncio.create_task(spool.read(reader, MIB))
    await asyncio.sleep(0)
    assert not waiting.done()
    spool.abort("wrong digest")
    with pytest.raises(Aborted):
        await waiting
    spool.close()


async def test_with_a_known_length_only_the_tail_waits(tmp_path: Path):
    spool = Spool(tmp_path, ROOM, 10 * MIB)
    await spool.write(bytes(MIB), Verifier())
    assert spool.limit == MIB
    spool.close()


async def test_without_room_the_bytes_pass_through_a_bounded_window(tmp_path: Path):
    spool, verifier, body = Spool(tmp_path, 0, None), Verifier(), os.urandom(12 * MIB)
    assert not spool.shared
    reader = asyncio.create_task(read_all(spool))
    await asyncio.sleep(0)
    for at in range(0, len(body), 256 * 1024):
        await spool.write(body[at : at + 256 * 1024], verifier)
        held = sum(len(piece) for _, piece in spool._window)
        assert held <= WINDOW_BYTES * 2
    spool.complete(len(body))
    assert await reader == body
    assert not spool.joinable, "a late reader must get a flight of its own"
    spool.close()


async def test_a_slow_reader_holds_the_source_back_while_there_is_no_file(tmp_path: Path):
    spool = Spool(tmp_path, 0, None)
    reader = spool.attach()
    writing = asyncio.create_task(write_many(spool, 64))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not writing.done()
    assert spool.written <= WINDOW_BYTES + MIB
    spool.detach(reader)
    await asyncio.wait_for(writing, 30)
    spool.close()


async def write_many(spool: Spool, count: int) -> None:
    for _ in range(count):
        await spool.write(bytes(MIB), Verifier())


async def test_a_disk_that_fills_up_half_way_does_not_break_the_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spool, body, real = Spool(tmp_path, ROOM, None), os.urandom(8 * MIB), os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        if offset + len(data) > 2 * MIB + 7:
            if offset < 2 * MIB + 7:
                return real(fd, data[: 2 * MIB + 7 - offset], offset)
            raise OSError(errno.ENOSPC, "no space")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    reader = asyncio.create_task(read_all(spool))
    await asyncio.sleep(0)
    for at in range(0, len(body), MIB):
        await spool.write(body[at : at + MIB], Verifier())
    spool.complete(len(body))
    assert await reader == body
    assert not spool.shared
    assert list(tmp_path.iterdir()) == [], "what can't be finished takes no room"
    spool.close()


async def test_readers_far_behind_when_the_room_ends_are_waited_for_and_woken(tmp_path: Path):
    """Everything that was in the file is read from there, and each read lets the source go on."""
    room = WINDOW_BYTES + 2 * MIB
    spool, verifier, body = Spool(tmp_path, room, None), Verifier(), os.urandom(room + 2 * MIB)
    reader = spool.attach(0)
    await spool.write(body[:room], verifier)
    writing = asyncio.create_task(spool.write(body[room:], verifier))
    await asyncio.sleep(0)
    assert not writing.done()
    got = b""
    async with asyncio.timeout(30):
        while len(got) < room:
            got += await spool.read(reader, 100_000)
            if len(got) + MIB > room:
                break
        await writing
        spool.complete(len(body))
        while piece := await spool.read(reader, 100_000):
            got += piece
    assert got == body
    spool.detach(reader)
    spool.close()


async def test_room_is_reserved_before_it_is_written(tmp_path: Path):
    spool = Spool(tmp_path, ROOM, 5 * MIB)
    assert spool.path is not None
    assert spool.path.stat().st_blocks * 512 >= 5 * MIB
    assert not Spool(tmp_path, MIB, 5 * MIB).shared
    spool.close()


async def test_the_next_piece_can_be_read_while_one_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And readers are told as soon as it is, though no other comes."""
    writing, go_on, real = threading.Event(), threading.Event(), os.pwrite

    def slow(fd: int, data: memoryview, offset: int) -> int:
        writing.set()
        go_on.wait(30)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with ThreadPoolExecutor(1) as pool:
        spool, told = Spool(tmp_path, ROOM, None, pool, lambda: told.append(spool.limit)), list[int]()
        await spool.write(bytes(MIB), Verifier())
        await asyncio.to_thread(writing.wait, 30)
        assert spool.limit == 0
        go_on.set()
        reader = spool.attach()
        assert await asyncio.wait_for(spool.read(reader, MIB), 30) == bytes(MIB - TAIL_BYTES)
        assert told == [MIB - TAIL_BYTES]
        spool.close()


async def test_what_the_disk_says_of_a_piece_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(_fd: int, _data: memoryview, _offset: int) -> int:
        raise OSError(errno.EBADF, "broken")

    monkeypatch.setattr(os, "pwrite", broken)
    with ThreadPoolExecutor(1) as pool:
        spool = Spool(tmp_path, ROOM, None, pool)
        await spool.write(bytes(MIB), Verifier())
        with pytest.raises(OSError, match="broken"):
            await spool.write(bytes(MIB), Verifier())
        spool.close()


async def test_a_thread_that_still_writes_keeps_the_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who waited was cancelled; the descriptor's number must not become another file's meanwhile."""
    writing, go_on, real, fds = threading.Event(), threading.Event(), os.pwrite, list[int]()

    def slow(fd: int, data: memoryview, offset: int) -> int:
        fds.append(fd)
        writing.set()
        go_on.wait(30)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with ThreadPoolExecutor(1) as pool:
        spool = Spool(tmp_path, ROOM, MIB, pool)
        await spool.write(bytes(MIB), Verifier())
        settling = asyncio.create_task(spool.settle())
        await asyncio.to_thread(writing.wait, 30)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        spool.close()
        assert os.fstat(fds[0]).st_size == MIB
        go_on.set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[0])
    assert list(tmp_path.iterdir()) == []


async def test_a_mirror_reads_what_another_process_writes(tmp_path: Path):
    spool, body = Spool(tmp_path, ROOM, None), os.urandom(MIB)
    assert spool.path is not None
    mirror = Mirror(spool.path, None)
    reading = asyncio.create_task(read_all(mirror))
    await spool.write(body, Verifier())
    mirror.advance(spool.limit)
    await asyncio.sleep(0)
    kept = spool.keep()
    assert kept is not None
    kept.rename(tmp_path / "blob")
    mirror.complete(len(body))
    assert await reading == body
    mirror.close()
    spool.close()
    assert (tmp_path / "blob").read_bytes() == body
