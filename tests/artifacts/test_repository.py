"""Local repositories: kept for good, acknowledged only when safe, never from anywhere else."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from millpond.artifacts.model import Target
from millpond.artifacts.ports import LANDED
from millpond.errors import BadRequest, Conflict, NotFound, OutOfSpace, TooLarge

CONFIG = """
[repositories.local]
package = "generic"
type = "local"
max_upload = "1000KB"
[repositories.loose]
package = "generic"
type = "local"
allow_overwrite = true
"""
TARGET = Target("dir/a.bin", "dir/a.bin", mutable=True)


@pytest.fixture
async def pond(open_pond):
    return await open_pond(CONFIG)


async def chunks(*pieces: bytes):
    for piece in pieces:
        yield piece


async def put(repository, *pieces: bytes, length: int | None = None):
    return await repository.put(TARGET, chunks(*pieces), length, "")


async def test_an_upload_is_there_whole_with_its_record(pond):
    local = pond.app.repositories["local"]
    status, entry = await put(local, b"one ", b"two")
    assert (status, entry.size, entry.digest) == (201, 7, "sha256:" + hashlib.sha256(b"one two").hexdigest())
    record = pond.app.catalog.sidecars.read("local", TARGET.path, "")
    assert record is not None
    assert record.digest == entry.digest
    answer = await local.get(TARGET, "")
    assert (answer.status, answer.outcome, answer.body.read_bytes()) == (200, "local", b"one two")


async def test_the_same_bytes_are_no_change(pond):
    local = pond.app.repositories["local"]
    _, first = await put(local, b"x")
    pond.clock.advance(100)
    status, again = await put(local, b"x")
    assert (status, again.stored_at) == (200, first.stored_at)


async def test_other_bytes_are_refused_unless_allowed(pond):
    await put(pond.app.repositories["local"], b"x")
    with pytest.raises(Conflict, match="other bytes"):
        await put(pond.app.repositories["local"], b"y")
    await put(pond.app.repositories["loose"], b"x")
    assert (await put(pond.app.repositories["loose"], b"y"))[0] == 201


@pytest.mark.parametrize(
    ("pieces", "length", "error"),
    [
        ((b"x" * 600_000, b"x" * 600_000), None, TooLarge),
        ((), 1_000_001, TooLarge),
        ((b"short",), 6, BadRequest),
        ((b"too long",), 6, BadRequest),
    ],
)
async def test_an_unsound_upload_leaves_nothing(pond, pieces, length, error):
    local = pond.app.repositories["local"]
    with pytest.raises(error):
        await put(local, *pieces, length=length)
    assert (await local.get(TARGET, "")).status == 404
    assert list((pond.app.data / "spool").iterdir()) == []
    assert list(pond.app.store.walk()) == []


async def test_without_room_an_upload_is_refused_rather_than_lost(pond):
    pond.app.room._known, pond.app.room._until = 10, float("inf")
    local = pond.app.repositories["local"]
    for length in (11, None):
        with pytest.raises(OutOfSpace):
            await put(local, b"eleven byte", length=length)
    assert (await put(local, b"ten bytes.", length=10))[0] == 201


async def test_a_deleted_artifact_is_gone_with_its_record(pond):
    local = pond.app.repositories["local"]
    await put(local, b"x")
    await local.delete(TARGET)
    assert (await local.get(TARGET, "")).status == 404
    assert pond.app.catalog.sidecars.read("local", TARGET.path, "") is None
    with pytest.raises(NotFound):
        await local.delete(TARGET)


async def test_uploads_of_one_path_take_turns_across_processes(pond):
    local = pond.app.repositories["local"]
    seat = pond.app.lock.lead(f"put\nlocal\n{TARGET.path}")
    assert seat is not None
    waiting = asyncio.create_task(put(local, b"x"))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "another process has its turn"
    seat.leave(LANDED)
    assert (await waiting)[0] == 201


async def test_deleting_one_of_two_that_share_bytes_keeps_the_other(pond):
    for name in ("local", "loose"):
        await put(pond.app.repositories[name], b"shared")
    await pond.app.repositories["local"].delete(TARGET)
    assert (await pond.app.repositories["loose"].get(TARGET, "")).body.read_bytes() == b"shared"


async def test_a_query_means_nothing_here(pond):
    local = pond.app.repositories["local"]
    assert local.resolve("a", "x=1", "") == local.resolve("a", "", "")


async def test_an_upload_lives_through_a_restart(open_pond, pond):
    await put(pond.app.repositories["local"], b"x")
    await pond.app.close()
    again = await open_pond(CONFIG)
    assert (await again.app.repositories["local"].get(TARGET, "")).body.read_bytes() == b"x"
