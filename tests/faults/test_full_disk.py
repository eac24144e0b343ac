"""A disk without room: what is pulled passes through with the right bytes, uploads are refused, nothing else fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.faults.traffic import (
    SlowReader,
    admin,
    blobs,
    by_worker,
    content,
    entries,
    fetch,
    flush,
    operate,
    sha256,
    until,
    upload,
    workers,
)
from tests.wheels import JSON_TYPE, Wheel, publish

from millpond.testing.behaviours import Chunked
from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.fault
MIB = 1 << 20
DISK = 64 * MIB
CONFIG = """
[storage]
keep_free = "12MiB"
collect_grace_s = 0
[repositories.files]
package = "generic"
base_url = "{upstream}/plain"
immutable_patterns = ["^fixed/"]
mutable_patterns = ["^changing"]
mutable_ttl_s = 0
[repositories.pypi]
package = "pypi"
base_url = "{upstream}/simple"
trusted_origins = ["{files}"]
[repositories.kept]
package = "generic"
type = "local"
"""


@pytest.fixture
def disk(tmp_path):
    """A data directory on a small disk of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs takes root and mount(8)")
    folder = tmp_path / "pond" / "data"
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def pond(disk, upstream, files_host, nursery, request):
    count, config = getattr(request, "param", 1), CONFIG.format(upstream=upstream.url, files=files_host.url)
    made = PondProcess(disk.parent, config, workers=count, nursery=nursery)
    try:
        made.start()
        by_worker(made, "/health", count)  # all of them have started
        yield made
    finally:
        made.kill()


def free(pond: PondProcess) -> int:
    stat = os.statvfs(pond.data)
    return stat.f_bavail * stat.f_frsize


def is_written_out(file: Path) -> bool:
    """Whether a file has no holes: writing into a hole of a mapped file kills the process when the disk is full."""
    stat = file.stat()
    return stat.st_blocks * 512 >= stat.st_size


def fill(pond: PondProcess, *, leave: int = 0) -> None:
    """Take the room that is left, by a file that is none of the pond's."""
    with (pond.data / "filler").open("ab") as file:
        while (left := free(pond) - leave) > 0:
            try:
                file.write(bytes(min(left, MIB)))
                file.flush()
            except OSError:
                break


def make_room(pond: PondProcess) -> None:
    (pond.data / "filler").unlink()


def is_sound(pond: PondProcess) -> None:
    """It answers, its database and every stored byte are right, and nothing in its log is a fault of ours."""
    assert fetch(pond, "/health").status == 200
    report = operate(pond, "fsck")
    assert report["ok"], report
    log = pond.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert "a worker died" not in log


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_what_is_larger_than_the_disk_passes_through(pond, upstream, known):
    body = content("large", DISK + 16 * MIB)
    upstream.put("/plain/fixed/large.bin", body)
    if not known:
        upstream.always("/plain/fixed/large.bin", Chunked(256 * 1024))
    hold = upstream.hold("/plain/fixed/large.bin", after_bytes=MIB) if known else None
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(fetch, pond, "/files/fixed/large.bin") for _ in range(3)]
        if hold is not None:
            hold.wait_reached()
            hold.release()
        for one in asked:
            seen = one.result(60)
            assert (seen.status, seen.whole, sha256(seen.body)) == (200, True, sha256(body))
            assert not known or "stored" not in seen.happened
    assert entries(pond, "files") == {}
    assert blobs(pond) == set()
    until(lambda: not list((pond.data / "spool").glob("*.part")), "the spool file was left behind")
    small = content("small", 10_000)
    upstream.put("/plain/fixed/small.bin", small)
    assert "stored" in fetch(pond, "/files/fixed/small.bin").happened
    is_sound(pond)


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_the_disk_fills_up_half_way(pond, upstream, known):
    """A reserved file is stored even so; one of unknown length goes on without its file, for all who read it."""
    body = content("half way", 16 * MIB)
    upstream.put("/plain/fixed/half.bin", body)
    path = "/files/fixed/half.bin"
    if known:
        hold = upstream.hold("/plain/fixed/half.bin", after_bytes=6 * MIB)
        gate = threading.Event()
    else:
        slow = _Gated(6 * MIB)
        gate = slow.gate
        upstream.script("/plain/fixed/half.bin", slow)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(fetch, pond, path) for _ in range(4)]
        hold.wait_reached() if known else slow.wait_reached()
        fill(pond)
        hold.release() if known else gate.set()
        for one in asked:
            seen = one.result(60)
            assert (seen.status, seen.whole, sha256(seen.body)) == (200, True, sha256(body))
    late = fetch(pond, path)
    assert sha256(late.body) == sha256(body)
    assert (late.source == "cache") is known
    make_room(pond)
    is_sound(pond)


class _Gated:
    """A chunked answer that waits half way, for the whole test."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.gate, self._reached = threading.Event(), threading.Event()

    def wait_reached(self) -> None:
        assert self._reached.wait(20)

    async def play(self, exchange):
        import asyncio

        body = exchange.answer.body
        await exchange.head(exchange.answer, framing={"transfer-encoding": "chunked"})
        for start in range(0, len(body), MIB):
            if start == self._after:
                self._reached.set()
                await asyncio.to_thread(self.gate.wait, 30)
            piece = body[start : start + MIB]
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await exchange.send(b"0\r\n\r\n")
        return True


@pytest.mark.parametrize("pond", [1, 2], indirect=True, ids=["1 worker", "2 workers"])
def test_a_full_disk_from_end_to_end(pond, upstream, files_host):
    """Hits, misses, revalidations, an index and its files, and what happens when there is room again."""
    kept, warm, wheel = (
        content("kept", 50_000),
        content("warm", 50_000),
        Wheel("demo", "1.0", payload=content("w", MIB)),
    )
    upstream.put("/plain/fixed/warm.bin", warm)
    upstream.put("/plain/changing.bin", warm)
    assert upload(pond, "kept/u.bin", kept).status == 201
    for path in ("fixed/warm.bin", "changing.bin"):
        assert fetch(pond, f"/files/{path}").body == warm
    fill(pond)
    time.sleep(1.1)  # each worker measures the room once a second
    assert upload(pond, "kept/n.bin", b"x" * 5000).status == 507
    assert fetch(pond, "/files/fixed/warm.bin").body == warm
    assert fetch(pond, "/kept/u.bin").body == kept
    assert [file for file in (pond.data / "metrics").glob("*.db") if not is_written_out(file)] == []
    assert is_written_out(pond.data / "stamps")
    publish(upstream, files_host, wheel, as_json=True)
    an_index_and_its_file_pass(pond, wheel)
    what_changed_upstream_is_seen(pond, upstream)
    uploads_are_refused(pond)
    misses_pass_side_by_side(pond, upstream)
    assert flush(pond).status == 200
    assert fetch(pond, "/kept/u.bin").body == kept
    make_room(pond)
    caching_resumes(pond, upstream, wheel)
    until(lambda: upload(pond, "kept/later.bin", b"x" * 5000).status == 201, "uploads stay refused")
    is_sound(pond)


def an_index_and_its_file_pass(pond: PondProcess, wheel: Wheel) -> None:
    page = fetch(pond, "/pypi/simple/demo/", headers={"Accept": JSON_TYPE})
    assert (page.status, page.whole) == (200, True)
    assert f"{pond.url}/pypi/files/demo/{wheel.filename}".encode() in page.body
    for _ in range(2):
        file = fetch(pond, f"/pypi/files/demo/{wheel.filename}")
        assert (file.status, file.whole, sha256(file.body)) == (200, True, wheel.sha256)
    metadata = fetch(pond, f"/pypi/files/demo/{wheel.filename}.metadata")
    assert (metadata.status, metadata.body) == (200, wheel.metadata)
    assert fetch(pond, "/pypi/files/demo/absent-1.0-py3-none-any.whl").status == 404


def what_changed_upstream_is_seen(pond: PondProcess, upstream) -> None:
    new = content("changed", 60_000)
    upstream.put("/plain/changing.bin", new)
    seen = fetch(pond, "/files/changing.bin")
    assert (seen.status, seen.whole, seen.body) == (200, True, new)
    assert fetch(pond, "/files/fixed/absent.bin").status == 404


def uploads_are_refused(pond: PondProcess) -> None:
    large = {"Content-Length": str(20 * MIB), "Expect": "100-continue", **admin(pond)}
    for seen in (
        upload(pond, "kept/small.bin", b"x"),
        upload(pond, "kept/middle.bin", bytes(100_000)),
        fetch(pond, "/api/v1/remote/kept/large.bin", method="PUT", headers=large),  # waits for leave to send its body
    ):
        assert seen.status == 507
        assert b"free some disk space" in seen.body
    assert not {"small.bin", "middle.bin", "large.bin"} & set(entries(pond, "kept"))


def misses_pass_side_by_side(pond: PondProcess, upstream) -> None:
    bodies = [content(f"miss {number}", 3 * MIB) for number in range(4)]
    for number, body in enumerate(bodies):
        upstream.put(f"/plain/fixed/m{number}.bin", body)
    with SlowReader(pond) as slow, ThreadPoolExecutor(8) as pool:
        slow.ask("/files/fixed/m0.bin")
        asked = [pool.submit(fetch, pond, f"/files/fixed/m{number % 4}.bin") for number in range(12)]
        for number, one in enumerate(asked):
            seen = one.result(60)
            assert (seen.status, seen.whole, seen.body) == (200, True, bodies[number % 4])
        assert slow.rest().body == bodies[0]


def caching_resumes(pond: PondProcess, upstream, wheel: Wheel) -> None:
    path = f"/pypi/files/demo/{wheel.filename}"
    until(lambda: fetch(pond, path).source == "cache", "nothing is cached although there is room")
    seen = fetch(pond, path)
    assert sha256(seen.body) == wheel.sha256
    page = fetch(pond, "/pypi/simple/demo/", headers={"Accept": JSON_TYPE})
    assert page.happened.startswith("millpond; hit") or "stored" in page.happened
    again = fetch(pond, "/pypi/simple/demo/", headers={"Accept": JSON_TYPE})
    assert (again.happened.startswith("millpond; hit"), again.body) == (True, page.body)


@pytest.mark.parametrize("pond", [1, 2], indirect=True, ids=["1 worker", "2 workers"])
def test_a_pond_starts_on_a_full_disk(pond, upstream):
    body = content("warm", 50_000)
    upstream.put("/plain/fixed/warm.bin", body)
    assert fetch(pond, "/files/fixed/warm.bin").body == body
    fill(pond)
    pond.kill()
    fill(pond)
    pond.start()
    assert fetch(pond, "/files/fixed/warm.bin").body == body
    upstream.put("/plain/fixed/new.bin", body[::-1])
    assert fetch(pond, "/files/fixed/new.bin").body == body[::-1]
    make_room(pond)
    is_sound(pond)


@pytest.mark.parametrize("pond", [2], indirect=True, ids=["2 workers"])
def test_a_worker_that_dies_on_a_full_disk_comes_back(pond, upstream):
    body = content("warm", 50_000)
    upstream.put("/plain/fixed/warm.bin", body)
    assert fetch(pond, "/files/fixed/warm.bin").body == body
    fill(pond)
    victim = workers(pond)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in workers(pond) and len(workers(pond)) == 2, "it was not replaced")
    for number, seen in by_worker(pond, "/files/fixed/warm.bin").items():
        assert (seen.status, seen.body) == (200, body), number
    for number, seen in by_worker(pond, "/metrics").items():
        assert (seen.status, b"millpond_requests_total" in seen.body) == (200, True), number
    assert pond.log.read_text().count("a worker died") == 1
