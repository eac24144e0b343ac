"""The database's promises: one bad function fails alone, commits survive, the disk may be full, the file may be bad."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.artifacts.tables import ENTRIES
from millpond.db import Damaged, Database, sqlite
from millpond.errors import Busy, OutOfSpace
from millpond.testing.clock import FakeClock


def insert(key: str, value: str = ""):
    return lambda connection: connection.execute(
        sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)"), {"key": key, "value": value}
    )


def keys(connection: Connection) -> set[str]:
    return set(connection.execute(sa.text("SELECT key FROM meta WHERE key != 'catalog_id'")).scalars())


def fail(connection: Connection) -> None:
    connection.execute(sa.text("INSERT INTO meta (key, value) VALUES ('bad', '')"))
    raise RuntimeError("no")


@pytest.fixture
async def db(tmp_path: Path):
    opened = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    yield opened
    await opened.close()


async def test_what_is_written_is_read_back(db: Database):
    await db.write(insert("a"))
    assert await db.read(keys) == {"a"}


async def test_a_function_that_raises_fails_alone_and_leaves_nothing(db: Database):
    outcomes = await asyncio.gather(
        db.write(insert("a")), db.write(fail), db.write(insert("b")), return_exceptions=True
    )
    assert isinstance(outcomes[1], RuntimeError)
    assert not any(isinstance(outcome, BaseException) for outcome in (outcomes[0], outcomes[2]))
    assert await db.read(keys) == {"a", "b"}


async def test_one_that_is_refused_by_its_own_rule_takes_no_other_with_it(db: Database):
    """`Busy` is also what the writer says of a locked database, which all of a batch are told."""

    def refuse(_: Connection) -> None:
        raise Busy("somebody else has it")

    outcomes = await asyncio.gather(
        db.write(insert("a")), db.write(refuse), db.write(insert("b")), return_exceptions=True
    )
    assert [isinstance(outcome, Busy) for outcome in outcomes] == [False, True, False]
    assert await db.read(keys) == {"a", "b"}


async def test_many_writers_share_transactions(db: Database):
    commits = 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    sa.event.listen(db._writer._engine, "commit", count)
    await asyncio.gather(*(db.write(insert(str(number))) for number in range(300)))
    assert len(await db.read(keys)) == 300
    assert commits < 150


async def test_a_batch_is_run_again_one_by_one_when_one_of_it_fails(db: Database):
    runs: list[int] = []

    def good(connection: Connection) -> None:
        runs.append(1)
        insert("good")(connection)

    # The first write holds the writer so that the next two are taken as one batch.
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocking = db.write(lambda _: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
    tasks = [asyncio.ensure_future(task) for task in (blocking, db.write(good), db.write(fail))]
    await asyncio.sleep(0)
    while db._writer._queue.qsize() < 2:
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(runs) == 2
    assert await db.read(keys) == {"good"}


async def test_committed_is_told_only_after_the_commit_and_even_when_nobody_waits(db: Database, tmp_path: Path):
    seen: list[set[str]] = []

    def committed(_: object) -> None:
        with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as other:
            seen.append({row[0] for row in other.execute("SELECT key FROM meta WHERE key != 'catalog_id'")})

    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = asyncio.ensure_future(db.write(lambda _: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()))
    task = asyncio.ensure_future(db.write(insert("a"), committed=committed))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await first
    await db.write(insert("b"))
    assert seen[0] >= {"a"}


async def test_a_failure_after_the_commit_is_told_but_nothing_is_undone(db: Database):
    def committed(_: object) -> None:
        raise OSError("too late")

    with pytest.raises(OSError, match="too late"):
        await db.write(insert("a"), committed=committed)
    assert await db.read(keys) == {"a"}


async def test_durable_commits_are_fully_synchronous_and_others_not(db: Database):
    def level(connection: Connection) -> int:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    assert [await db.write(level, durable=durable) for durable in (False, True, False)] == [1, 2, 1]


async def test_reading_can_change_nothing(db: Database):
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        await db.read(insert("a"))


async def test_foreign_keys_are_enforced(db: Database):
    with pytest.raises(sa.exc.IntegrityError):
        await db.write(
            lambda connection: connection.execute(
                sa.insert(ENTRIES).values(
                    {column.name: 0 for column in ENTRIES.columns}
                    | {"digest": "sha256:none", "unchecked": False, "local": False}
                )
            )
        )


async def test_close_finishes_what_is_queued_and_then_refuses(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    tasks = [asyncio.ensure_future(db.write(insert(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    await db.close()
    await asyncio.gather(*tasks)
    with pytest.raises(Busy, match="closed"):
        await db.write(insert("late"))
    again = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    assert len(await again.read(keys)) == 50
    await again.close()


async def test_the_queue_is_bounded(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0, max_queued=4)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks = [
        asyncio.ensure_future(db.write(lambda _: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())),
        *(asyncio.ensure_future(db.write(insert(str(number)))) for number in range(20)),
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert db._writer._queue.qsize() <= 4
    gate.set()
    await asyncio.gather(*tasks)
    assert len(await db.read(keys)) == 20
    await db.close()


class GivingBallast:
    """A ballast whose release makes room: lifts the limit on the database's pages."""

    def __init__(self, times: int) -> None:
        self.times = times

    def release(self) -> bool:
        self.times -= 1
        return self.times >= 0

    def ensure(self) -> None:
        pass


def fill(connection: Connection) -> None:
    connection.execute(sa.text("INSERT INTO meta VALUES ('big', :big)"), {"big": "x" * 200_000})


async def test_a_full_disk_gives_the_ballast_back_once_and_goes_on(db: Database):
    ballast = GivingBallast(1)
    db._writer._ballast = ballast  # type: ignore[assignment]
    pages = await db.read(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    limit = pages + 1

    def limited(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit if ballast.times > 0 else 1_000_000}")
        fill(connection)

    await db.write(limited)
    assert await db.read(keys) == {"big"}
    assert ballast.times == 0


async def test_a_full_disk_without_ballast_is_told_and_later_writes_work(db: Database):
    db._writer._ballast = GivingBallast(0)  # type: ignore[assignment]

    def limited(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        fill(connection)

    with pytest.raises(OutOfSpace, match="free some space"):
        await db.write(limited)
    await db.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    await db.write(insert("later"))
    assert await db.read(keys) == {"later"}


async def test_the_ballast_is_made_given_back_and_made_again(tmp_path: Path):
    clock = FakeClock()
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=1 << 16, clock=clock)
    assert (tmp_path / "ballast").stat().st_size == 1 << 16
    assert db._writer._ballast.release()
    assert not db._writer._ballast.release()
    await db.write(insert("a"))
    assert not (tmp_path / "ballast").exists()
    clock.advance(60)
    await db.write(insert("b"))
    await db.close()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1 << 16


async def test_a_lock_held_by_another_process_is_waited_for(db: Database, tmp_path: Path, monkeypatch):
    other = sqlite.connect(tmp_path / "catalog.sqlite", writing=True)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.ensure_future(db.write(insert("a")))
    await asyncio.sleep(0.05)
    assert not task.done()
    other.execute("COMMIT")
    other.close()
    await task
    assert await db.read(keys) == {"a"}


async def test_a_lock_that_is_never_given_back_ends_in_busy(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("millpond.db.sqlite.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("millpond.db.writer.BACKOFF_S", (0.0, 0.0))
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    other = sqlite.connect(tmp_path / "catalog.sqlite", writing=True)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="locked by another process"):
        await db.write(insert("a"))
    other.execute("ROLLBACK")
    other.close()
    await db.write(insert("b"))
    assert await db.read(keys) == {"b"}
    await db.close()


WRITE_MANY = """
import asyncio, sys
from pathlib import Path
import sqlalchemy as sa
from millpond.db import Database

async def main(path, name):
    db = Database.open(Path(path), ballast_bytes=0)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(100):
        row = {"key": f"{name}{number}"}
        await db.write(lambda connection: connection.execute(sa.text("INSERT INTO meta VALUES (:key, '')"), row))
    await db.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path):
    # They also race for the first migration of the file.
    path = tmp_path / "catalog.sqlite"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_MANY, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("SELECT count(*) FROM meta WHERE key != 'catalog_id'").fetchone() == (200,)


async def test_a_file_that_is_damaged_while_it_is_used_is_named(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    for number in range(50):
        await db.write(insert(str(number), "x" * 2000))
    await db.close()
    content = bytearray((tmp_path / "catalog.sqlite").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(Damaged, match="fsck --repair"):
        db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    assert sqlite.quick_check(tmp_path / "catalog.sqlite") is not None


async def test_the_file_and_its_side_files_are_private(db: Database, tmp_path: Path):
    await db.write(insert("a"))
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


async def test_check_finds_a_sound_file_sound(db: Database, tmp_path: Path):
    await db.write(insert("a"))
    assert await db.check() is None
    shutil.copyfile(tmp_path / "catalog.sqlite", tmp_path / "copy")
    assert sqlite.quick_check(tmp_path / "no such file") is not None
