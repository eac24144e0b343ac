"""Derived documents: made once, found again, bounded, and safe beside whoever reads them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from millpond.adapters.filesystem import FilesystemStore
from millpond.artifacts import derived as module
from millpond.artifacts.compute import Compute, ComputeFailed
from millpond.artifacts.derived import GRACE_S, INLINE_BYTES, RECHECK_S, Derived, UnsoundDocument
from millpond.artifacts.formats import FORMATS
from millpond.artifacts.model import Checksum, Links, Target
from millpond.testing.clock import FakeClock

MIB = 1 << 20
SOURCE = "https://index.example/simple/foo/"
LINKS = Links("http://pond.example/pypi", SOURCE)
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
PAGE = Target("simple/foo/", "foo/", mutable=True, variant="json", rewritten=True)


def page(files: int, padding: str = "") -> bytes:
    listed = [
        {
            "filename": f"foo-{number}.zip",
            "url": f"https://files.example/foo-{number}.zip",
            "hashes": {"sha256": f"{number:064x}"},
            "x": padding,
        }
        for number in range(files)
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "foo", "files": listed}).encode()


class CountingCompute(Compute):
    """Does in a thread what children would do, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, fn: Callable[..., Any], *args: Any, **_: Any) -> Any:
        self.calls += 1
        await self.gate.wait()
        return await asyncio.to_thread(fn, *args)


@dataclass
class Bench:
    folder: Path
    store: FilesystemStore
    compute: CountingCompute
    clock: FakeClock
    derived: Derived

    def put(self, body: bytes) -> str:
        spool = self.folder / "spool"
        spool.write_bytes(body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.store.place(spool, digest)
        return digest

    def another(self, max_bytes: int = 64 * MIB) -> Derived:
        """Another process's view of the same directory."""
        return Derived(self.folder / "derived", self.store, self.compute, FORMATS, max_bytes, self.clock)

    async def page(self, digest: str, links: Links = LINKS) -> Path:
        return (await self.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, links)).path

    async def member(self, digest: str, name: str) -> Any:
        return await self.derived.member("pypi", PAGE, JSON_TYPE, digest, SOURCE, name)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store, compute, clock = FilesystemStore(tmp_path / "store"), CountingCompute(), FakeClock(now=time.time())
    yield Bench(
        tmp_path, store, compute, clock, Derived(tmp_path / "derived", store, compute, FORMATS, 64 * MIB, clock)
    )
    await compute.close()


async def test_a_small_blob_is_rewritten_at_once(bench: Bench):
    digest = bench.put(page(2))
    document = await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS)
    text = document.path.read_bytes()
    assert json.loads(text)["files"][1]["url"] == "http://pond.example/pypi/files/foo/foo-1.zip"
    assert document.size == len(text)
    assert document.etag.startswith('"')
    assert document.etag.endswith('"')
    assert bench.compute.calls == 0


async def test_a_large_blob_goes_to_the_pool(bench: Bench):
    body = page(1000)
    assert len(body) > INLINE_BYTES
    await bench.page(bench.put(body))
    assert bench.compute.calls == 1


@pytest.mark.heavy
async def test_the_real_pool_makes_the_same_document(bench: Bench, tmp_path: Path):
    digest = bench.put(page(1000))
    compute = Compute()
    try:
        real = Derived(tmp_path / "real", bench.store, compute, FORMATS, MIB)
        document = await real.rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS)
        assert document.path.read_bytes() == (await bench.page(digest)).read_bytes()
        found = await real.member("pypi", PAGE, JSON_TYPE, digest, SOURCE, "foo-999.zip")
        assert found is not None
        assert found.checksums == (Checksum("sha256", f"{999:064x}"),)
        with pytest.raises(UnsoundDocument, match="missing"):
            await real.rewritten("pypi", PAGE, JSON_TYPE, bench.put(page(1000)[:-1] + b"]"), LINKS)
    finally:
        await compute.close()


async def test_many_clients_cost_one_computation(bench: Bench):
    digest = bench.put(page(1000))
    paths = await asyncio.gather(*(bench.page(digest) for _ in range(50)))
    assert len(set(paths)) == bench.compute.calls == 1


async def test_a_client_that_leaves_takes_nobody_with_it(bench: Bench):
    digest = bench.put(page(1000))
    bench.compute.gate.clear()
    first, second = asyncio.create_task(bench.page(digest)), asyncio.create_task(bench.page(digest))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.compute.gate.set()
    assert (await second).exists()
    assert bench.compute.calls == 1


async def test_another_process_finds_it_made(bench: Bench):
    digest = bench.put(page(1000))
    path = await bench.page(digest)
    document = await bench.another().rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS)
    assert (document.path, bench.compute.calls) == (path, 1)


async def test_whatever_it_depends_on_makes_another_document(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    digest = bench.put(page(2))
    other = Target("simple/bar/", "bar/", mutable=True, variant="json", rewritten=True)
    seen = {await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS)}
    seen.add(await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, bench.put(page(3)), LINKS))
    seen.add(await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, Links("http://other.example", SOURCE)))
    seen.add(await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, Links(LINKS.mount, "https://i.example/")))
    seen.add(await bench.derived.rewritten("pypi", other, JSON_TYPE, digest, LINKS))
    monkeypatch.setattr(type(FORMATS["pypi"]), "rewrite_version", 99)
    seen.add(await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS))
    assert len(seen) == len({document.etag for document in seen}) == len({document.path for document in seen}) == 6


async def test_bytes_that_are_not_in_the_store_yet_are_rewritten_where_they_lie(bench: Bench):
    body = page(2)
    (bench.folder / "elsewhere").write_bytes(body)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    document = await bench.derived.rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS, blob=bench.folder / "elsewhere")
    assert await bench.page(bench.put(body)) == document.path


@pytest.mark.parametrize("size", [1, 1000])
async def test_an_unsound_blob_says_so_and_is_not_tried_again(bench: Bench, size: int):
    digest = bench.put(page(size)[:-2])
    for _ in range(3):
        with pytest.raises(UnsoundDocument, match="cut off"):
            await bench.page(digest)
        with pytest.raises(UnsoundDocument, match="cut off"):
            await bench.member(digest, "foo-0.zip")
    assert bench.compute.calls == (0 if size == 1 else 2)
    assert list((bench.folder / "derived").rglob("*.*")) == []


async def test_a_lost_blob_is_no_unsound_one(bench: Bench):
    digest = bench.put(page(1))
    bench.store.delete(digest)
    with pytest.raises(FileNotFoundError):
        await bench.page(digest)
    bench.put(page(1))
    assert (await bench.page(digest)).exists()


async def test_a_pool_that_fails_is_no_unsound_document(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> None:
        raise ComputeFailed("its child died twice")

    digest = bench.put(page(1000))
    with monkeypatch.context() as patch:
        patch.setattr(bench.compute, "run", fail)
        with pytest.raises(OSError, match="died twice"):
            await bench.page(digest)
    assert (await bench.page(digest)).exists()


async def test_a_repeated_hit_does_not_look_at_the_disk(bench: Bench):
    digest = bench.put(page(1))
    path = await bench.page(digest)
    path.unlink()
    assert await bench.page(digest) == path
    assert not path.exists()
    bench.clock.advance(RECHECK_S)
    assert (await bench.page(digest)).exists()


async def test_forgetting_looks_again(bench: Bench):
    digest = bench.put(page(1))
    path = await bench.page(digest)
    path.unlink()
    bench.derived.forget()
    assert (await bench.page(digest)).exists()


async def test_what_is_known_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_KNOWN", 3)
    digest = bench.put(page(1))
    for number in range(10):
        await bench.page(digest, Links(f"http://{number}.example", SOURCE))
    assert len(bench.derived._known) == 3


async def test_members_are_found_with_all_that_is_known_of_them(bench: Bench):
    digest = bench.put(page(5))
    found = await bench.member(digest, "foo-3.zip")
    assert found.url == "https://files.example/foo-3.zip"
    assert found.checksums == (Checksum("sha256", f"{3:064x}"),)
    assert await bench.member(digest, "foo-5.zip") is None
    assert await bench.member(digest, "foo-3.zip\tx") is None


async def test_a_members_document_that_was_swept_is_made_again(bench: Bench):
    digest = bench.put(page(5))
    await bench.member(digest, "foo-3.zip")
    assert bench.another(max_bytes=0).sweep()[0] == 1
    assert (await bench.member(digest, "foo-3.zip")).name == "foo-3.zip"


async def test_dropping_a_blob_drops_what_was_made_from_it_and_nothing_else(bench: Bench):
    first, second = bench.put(page(1)), bench.put(page(2))
    kept = await bench.page(second)
    gone = [await bench.page(first), await bench.page(first, Links("http://o.example", SOURCE))]
    await bench.member(first, "foo-0.zip")
    with gone[0].open("rb") as reader:
        assert bench.derived.drop(first) == 3
        assert reader.read()
    assert kept.exists()
    assert not any(path.exists() for path in gone)
    assert (await bench.page(first)).exists()


async def test_what_was_used_longest_ago_is_swept_first(bench: Bench):
    digest = bench.put(page(300, padding="x" * 50))
    paths = [await bench.page(digest, Links(f"http://{number}.example", SOURCE)) for number in range(6)]
    size = paths[0].stat().st_size
    for path, age_s in zip(paths, (3000, 6000, 1000, 5000, 4000, 2000), strict=True):
        used_at = bench.clock.now() - age_s
        os.utime(path, (used_at, used_at))
    assert bench.derived.sweep(6 * size) == (0, 0)
    count, freed = bench.derived.sweep(4 * size + size // 2)
    assert (count, freed) == (2, 2 * size)
    assert [path.exists() for path in paths] == [True, False, True, False, True, True]


async def test_what_is_in_use_is_spared_unless_there_is_far_too_much(bench: Bench):
    digest = bench.put(page(300))
    paths = [await bench.page(digest, Links(f"http://{number}.example", SOURCE)) for number in range(4)]
    size = paths[0].stat().st_size
    assert bench.derived.sweep(3 * size) == (0, 0)
    bench.clock.advance(GRACE_S + 1)
    await bench.page(digest, Links("http://0.example", SOURCE))
    used_at = bench.clock.now()
    os.utime(paths[0], (used_at, used_at))
    count, _ = bench.derived.sweep(3 * size)
    assert count > 0
    assert paths[0].exists()
    assert bench.derived.sweep(0)[0] == 4 - count


async def test_using_a_document_renews_it(bench: Bench):
    digest = bench.put(page(1))
    path = await bench.page(digest)
    os.utime(path, (1000, 1000))
    bench.clock.advance(RECHECK_S)
    await bench.page(digest)
    assert path.stat().st_mtime > 1000


async def test_making_much_sweeps_by_itself(bench: Bench):
    small = bench.another(max_bytes=MIB)
    digest = bench.put(page(300, padding="x" * 400))
    for number in range(40):
        await small.rewritten("pypi", PAGE, JSON_TYPE, digest, Links(f"http://{number}.example", SOURCE))
        if small._sweeping is not None:
            await small._sweeping
    left = sum(path.stat().st_size for path in (bench.folder / "derived").rglob("*") if path.is_file())
    assert left < 3 * MIB


async def test_what_a_crash_left_is_removed_and_what_is_being_written_is_not(bench: Bench):
    path = await bench.page(bench.put(page(1)))
    old, new, other_boot = path.with_name("partial-1"), path.with_name("partial-2"), bench.folder / "derived" / "old"
    for left in (old, new):
        left.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    other_boot.mkdir()
    (other_boot / "x").touch()
    bench.derived.sweep()
    assert (old.exists(), new.exists(), path.exists(), other_boot.exists()) == (False, True, True, False)


async def test_a_document_from_before_a_power_failure_is_not_served(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    digest = bench.put(page(1))
    path = await bench.page(digest)
    path.write_bytes(b"")
    (bench.folder / "boot").write_text("another-boot\n")
    monkeypatch.setattr(module, "_BOOT_ID", bench.folder / "boot")
    document = await bench.another().rewritten("pypi", PAGE, JSON_TYPE, digest, LINKS)
    assert document.path != path
    assert json.loads(document.path.read_bytes())


async def test_a_format_without_the_ability_is_a_mistake_of_ours(bench: Bench):
    digest = bench.put(b"x")
    with pytest.raises(TypeError, match="'generic' rewrites nothing"):
        await bench.derived.rewritten("generic", PAGE, "", digest, LINKS)
    with pytest.raises(TypeError, match="'generic' lists no members"):
        await bench.derived.member("generic", PAGE, "", digest, SOURCE, "x")
