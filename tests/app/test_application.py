"""One open application: opened, reloaded, drained and closed without leaving anything behind."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from millpond.app.datalock import DataLock
from millpond.errors import Busy, ConfigError, NotFound

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL"
[repositories.local]
package = "generic"
type = "local"
"""


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/a.bin", b"a" * 100_000)
    return await open_pond(CONFIG.replace("URL", origin.url))


async def test_the_first_start_makes_an_admin_token_and_later_ones_keep_it(open_pond, pond):
    assert pond.app.new_admin_token
    path = pond.app.data / "admin-token"
    assert path.read_text() == pond.app.new_admin_token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = await open_pond(CONFIG.replace("URL", "http://127.0.0.1:1"))
    assert again.app.new_admin_token is None
    assert again.admin == pond.admin


async def test_an_unknown_repository_is_named(pond):
    assert pond.app.repository("files").name == "files"
    with pytest.raises(NotFound, match="'nope'"):
        pond.app.repository("nope")


async def test_a_reload_lets_running_transfers_finish(pond, origin):
    gate = origin.hold("/a.bin", after_bytes=1000)
    running = asyncio.create_task(pond.get("/files/a.bin"))
    await gate.reached()
    before = pond.app.repositories["files"]
    await pond.app.reload()
    assert pond.app.repositories["files"] is not before
    await pond.app.retire()
    gate.release()
    assert (await running).body == b"a" * 100_000


async def test_replaced_upstreams_are_closed_after_a_while(pond):
    old = pond.app.repositories["files"].remote.upstream
    await pond.app.reload()
    closed = []
    real = old.close

    async def close():
        closed.append(1)
        await real()

    old.close = close
    await pond.app.retire()
    assert not closed, "its flights may still be under way"
    pond.clock.advance(10**6)
    await pond.app.retire()
    assert closed == [1]


async def test_a_mistake_leaves_everything_as_it_was(pond):
    pond.app.source.path.write_text(CONFIG.replace("URL", "ftp://nowhere"))
    before = dict(pond.app.repositories)
    await pond.app.reload()
    assert pond.app.repositories == before
    with pytest.raises(ConfigError):
        await pond.app.reload_everywhere()


async def test_draining_lets_flights_land_and_writes_what_was_noted(open_pond, origin, pond):
    gate = origin.hold("/a.bin", after_bytes=1000)
    running = asyncio.create_task(pond.get("/files/a.bin"))
    await gate.reached()
    draining = asyncio.create_task(pond.app.drained(10))
    await asyncio.sleep(0.02)
    assert not draining.done()
    gate.release()
    assert (await running).complete
    await draining
    again = await open_pond(CONFIG.replace("URL", origin.url))
    assert (await again.get("/files/a.bin")).headers["x-artifact-source"] == "cache"
    assert origin.count("/a.bin") == 1


async def test_closing_breaks_off_what_does_not_end_and_leaves_no_file_open(open_pond, origin, tmp_path: Path):
    def opened() -> set[str]:
        links = []
        for fd in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(fd.readlink()))
            except FileNotFoundError:
                continue
        return {link for link in links if str(tmp_path) in link}

    pond = await open_pond(CONFIG.replace("URL", origin.url), folder="other")
    origin.put("/a.bin", b"a" * 100_000)
    gate = origin.hold("/a.bin", after_bytes=1000)
    running = asyncio.create_task(pond.get("/files/a.bin"))
    await gate.reached()
    assert opened()
    await pond.app.close()
    got = await running
    assert got.status == 502 or not got.complete
    assert opened() == set()
    gate.release()


def test_live_data_belong_to_one_daemon(tmp_path: Path):
    lock = DataLock(tmp_path / "data")
    with pytest.raises(Busy, match="in use"):
        DataLock(tmp_path / "data")
    lock.release()
    DataLock(tmp_path / "data").release()
