"""Processes that die or work at once: nothing acknowledged is lost, nothing half is served, no leftovers stay."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millpond.artifacts.collector import Collector, CollectorOptions
from millpond.artifacts.fsck import FsckOptions
from millpond.clock import SystemClock
from millpond.testing.storage import Storage, digest_of, open_storage

pytestmark = pytest.mark.whole

PUBLISHER = """
import asyncio, sys
from pathlib import Path
from millpond.clock import SystemClock
from millpond.testing.storage import open_storage

async def main(folder, name, count):
    async with open_storage(Path(folder), SystemClock()) as storage:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(int(count)):
            content = f"{number % 7} {name if number % 2 else ''}".encode() * 50
            await storage.put(f"{name}/{number}", content)
            await storage.upload(f"{name}/{number % 5}", content + str(number).encode())
            print(f"{number}", flush=True)
            if number % 10 == 9:
                await storage.catalog.flush(["other"])

asyncio.run(main(*sys.argv[1:]))
"""

DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from millpond.artifacts import catalog as module
from millpond.clock import SystemClock
from millpond.testing.storage import open_storage

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(folder, where):
    async with open_storage(Path(folder), SystemClock()) as storage:
        await storage.upload("u", b"old")
        if where == "placed":
            module.rows.put_blob = die
        elif where == "recorded":
            real = type(storage.sidecars).prepare
            type(storage.sidecars).prepare = lambda self, record: (real(self, record), die())
        elif where == "committed":
            type(storage.sidecars).settle = die
        elif where == "settled":
            type(storage.stamps).touch = die
        await storage.upload("u", b"new")

asyncio.run(main(*sys.argv[1:]))
"""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def go(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()


async def sound(storage: Storage, *, repair: bool = True) -> None:
    """Everything found is whole, and after a collection nothing else is left."""
    options = CollectorOptions(grace_s=-5)
    collector = Collector(storage.catalog, storage.usage, options=options, fsck=FsckOptions(bytes_per_s=None))
    report = await collector.fsck(repair=repair)
    assert report.ok, report.problems
    for name in ("files", "local"):
        for entry in await storage.catalog.entries(name):
            assert entry.digest is not None
            assert digest_of(storage.store.path(entry.digest).read_bytes()) == entry.digest
    await storage.db.write(lambda c: c.exec_driver_sql("UPDATE blobs SET keep_until = 0"))
    await collector.gc()
    needed = {entry.digest for name in ("files", "local") for entry in await storage.catalog.entries(name)}
    assert set(storage.store.walk()) == needed
    assert not list((storage.folder / "storage").rglob("*.new"))


@pytest.mark.parametrize(
    ("where", "holds"), [("placed", b"old"), ("recorded", b"old"), ("committed", b"new"), ("settled", b"new")]
)
async def test_a_kill_at_each_step_of_an_upload_leaves_the_old_or_the_new_one_whole(
    tmp_path: Path, where: str, holds: bytes
):
    process = start(DYING, tmp_path, where)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    async with open_storage(tmp_path, SystemClock()) as storage:
        found = await storage.catalog.find("local", "u", "")
        assert found is not None
        assert found.digest == digest_of(holds)
        assert storage.has(holds)
        await sound(storage)
        assert storage.has(holds)
        record = storage.sidecars.read("local", "u", "")
        assert record is not None
        assert record.digest == digest_of(holds)


@pytest.mark.parametrize("where", ["placed", "recorded", "committed", "settled"])
async def test_a_kill_and_a_lost_catalog_together_lose_no_acknowledged_upload(tmp_path: Path, where: str):
    process = start(DYING, tmp_path, where)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"catalog.sqlite{suffix}").unlink(missing_ok=True)
    async with open_storage(tmp_path, SystemClock()) as storage:
        await sound(storage)
        found = await storage.catalog.find("local", "u", "")
        assert found is not None
        assert found.digest in {digest_of(b"old"), digest_of(b"new")}
        assert storage.store.stat(found.digest) is not None


async def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path: Path):
    chance = random.Random(7)
    for round_ in range(6):
        process = start(PUBLISHER, tmp_path, f"r{round_}", 10_000)
        go(process)
        await asyncio.sleep(chance.uniform(0.02, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
        told = [int(line) for line in output.split(b"\n")[:-1]]  # a line without its end was not acknowledged
        async with open_storage(tmp_path, SystemClock()) as storage:
            for number in told:
                assert await storage.catalog.find("files", f"r{round_}/{number}", "") is not None
            if told:
                newest = await storage.catalog.find("local", f"r{round_}/{told[-1] % 5}", "")
                assert newest is not None
                assert storage.store.stat(newest.digest or "") is not None
    async with open_storage(tmp_path, SystemClock()) as storage:
        assert await storage.catalog.entries("files")
        await sound(storage)


async def test_two_processes_that_publish_beside_collection_agree(tmp_path: Path):
    processes = [start(PUBLISHER, tmp_path, name, 60) for name in "ab"]
    go(*processes)
    async with open_storage(tmp_path, SystemClock()) as storage:
        collector = Collector(storage.catalog, storage.usage, options=CollectorOptions(grace_s=0))
        deadline = time.monotonic() + 30
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            await collector.gc()
        for process in processes:
            process.communicate(timeout=30)
            assert process.returncode == 0
        assert len(await storage.catalog.entries("files")) == 120
        assert len(await storage.catalog.entries("local")) == 10
        await sound(storage, repair=False)
