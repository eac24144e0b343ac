"""Bodies on their way to a client: bounded, broken off rather than short, and an end for who stopped reading."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from millpond.api import sending
from millpond.api.sending import CHUNK_BYTES, Gone, OpenFile, flight_pieces, send_pieces
from millpond.artifacts.flights import Arriving, Flight, Refused
from millpond.artifacts.spool import Aborted, Spool

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL"
"""
BIG = os.urandom(1000) * 2000


async def never():
    await asyncio.Event().wait()


async def pieces(*all_of_them):
    for piece in all_of_them:
        yield piece


async def test_pieces_are_sent_in_order_and_ended():
    sent = []

    async def send(message):
        sent.append((message["body"], message["more_body"]))

    assert await send_pieces(pieces(b"one", b"two"), never, send) == 6
    assert sent == [(b"one", True), (b"two", True), (b"", False)]


async def test_a_client_that_left_is_not_sent_more():
    sent = []

    async def send(message):
        sent.append(message)
        await asyncio.sleep(0)

    async def receive():
        return {"type": "http.disconnect"}

    async def endless():
        while True:
            yield b"x"
            await asyncio.sleep(0)

    with pytest.raises(Gone):
        await send_pieces(endless(), receive, send)
    assert len(sent) < 5
    assert all(message["more_body"] for message in sent), "the response stays unfinished"


async def test_a_client_that_stopped_reading_is_given_up(monkeypatch):
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 0.02)

    async def send(_message):
        await never()

    with pytest.raises(Gone):
        await send_pieces(pieces(b"x"), never, send)


async def test_nothing_listens_on_after_the_last_byte():
    before = asyncio.all_tasks()

    async def send(_message): ...

    await send_pieces(pieces(b"x"), never, send)
    assert asyncio.all_tasks() == before


async def read(file: OpenFile, begin: int, end: int) -> bytes:
    return b"".join([piece async for piece in file.pieces(begin, end)])


@pytest.mark.parametrize(("begin", "end"), [(0, len(BIG)), (1, 2), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (5, 5)])
async def test_a_file_is_read_in_bounded_pieces(tmp_path: Path, begin, end):
    (tmp_path / "f").write_bytes(BIG)
    file = OpenFile(tmp_path / "f")
    assert file.size == len(BIG)
    assert await read(file, begin, end) == BIG[begin:end]
    assert max([len(piece) async for piece in file.pieces(begin, end)], default=0) <= CHUNK_BYTES
    file.close()


async def test_a_file_that_the_kernel_must_fetch_first_is_read_in_a_thread(tmp_path: Path, monkeypatch):
    (tmp_path / "f").write_bytes(BIG)

    def not_in_memory(*_):
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_in_memory)
    file = OpenFile(tmp_path / "f")
    assert await read(file, 0, len(BIG)) == BIG
    assert file.small(0, 10) is None
    file.close()


async def test_a_file_that_shrank_is_a_broken_transfer(tmp_path: Path):
    (tmp_path / "f").write_bytes(BIG)
    file = OpenFile(tmp_path / "f")
    os.truncate(tmp_path / "f", 1000)
    with pytest.raises(Aborted):
        await read(file, 0, len(BIG))
    assert file.small(0, 2000) is None
    file.close()


async def test_a_removed_file_is_served_to_its_end(tmp_path: Path):
    (tmp_path / "f").write_bytes(BIG)
    file = OpenFile(tmp_path / "f")
    (tmp_path / "f").unlink()
    assert await read(file, 0, len(BIG)) == BIG
    file.close()


@pytest.mark.parametrize("warm", [False, True])
async def test_a_client_that_leaves_half_way_costs_nobody_else_anything(open_pond, origin, warm):
    origin.put("/big.bin", BIG)
    pond = await open_pond(CONFIG.replace("URL", origin.url))
    if warm:
        await pond.get("/files/big.bin")
    asked = [pond.client.ask("GET", "/files/big.bin", leave_after=1)]
    asked += [pond.client.get("/files/big.bin") for _ in range(3)]
    left, *stayed = await asyncio.gather(*asked)
    assert BIG.startswith(left.body)
    assert all(got.body == BIG and got.complete for got in stayed)
    await pond.landed()
    assert origin.count("/big.bin") == 1


@pytest.mark.parametrize("right", [True, False])
async def test_an_empty_body_is_whole_only_when_its_flight_ends_well(tmp_path: Path, right):
    flight, tape = Flight("k"), Spool(tmp_path, 1 << 20, 0)
    flight.hold()
    flight.arrive(Arriving("text/x", "", "", "", 0, None), tape)

    async def read() -> bytes:
        return b"".join([piece async for piece in flight_pieces(tape, 0, 0, tape.read)])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    assert not reading.done()
    if right:
        tape.complete(0)
        assert await reading == b""
    else:
        flight.end(Refused(502, "its digest is another"))
        with pytest.raises(Aborted):
            await reading
    tape.close()


async def test_who_leaves_first_does_not_stop_the_flight(open_pond, origin):
    origin.put("/big.bin", BIG)
    gate = origin.hold("/big.bin", after_bytes=500_000)
    pond = await open_pond(CONFIG.replace("URL", origin.url))
    left = await pond.client.ask("GET", "/files/big.bin", leave_after=1)
    assert not left.complete
    gate.release()
    await pond.landed()
    assert (await pond.get("/files/big.bin")).headers["x-artifact-source"] == "cache"
    assert origin.count("/big.bin") == 1
