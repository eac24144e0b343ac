"""Flush, collection and eviction beside running transfers: what is being read goes on, what was dropped stays away."""

from __future__ import annotations

import contextlib
import threading
import time

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
)

pytestmark = pytest.mark.fault
BIG = 16 << 20
MIB = 1 << 20
CONFIG = """
[storage]
collect_grace_s = 0
{storage}
[repositories.files]
package = "generic"
base_url = "{upstream}"
immutable_patterns = [".*"]
[repositories.kept]
package = "generic"
type = "local"
"""


@pytest.fixture
def pond(make_pond, upstream):
    return make_pond(CONFIG.format(upstream=upstream.url, storage=""), workers=2)


def slow_readers(stack, pond, path, count=4):
    """Clients that have read the head and a little, and stop there; each worker has some of them."""
    readers, numbers = [], set()
    deadline = time.monotonic() + 20
    while len(readers) < count or len(numbers) < 2:
        assert time.monotonic() < deadline, "only one worker takes connections"
        reader = stack.enter_context(SlowReader(pond))
        numbers.add(reader.worker())
        readers.append(reader.ask(path))
    return readers


def all_right(readers, body):
    return [sha256(reader.rest().body) for reader in readers] == [sha256(body)] * len(readers)


def test_a_flush_and_a_collection_beside_slow_readers(pond, upstream):
    old, new, upload_body = content("old", BIG), content("new", BIG), content("upload", 100_000)
    upstream.put("/a.bin", old)
    assert upload(pond, "kept/u.bin", upload_body).status == 201
    assert fetch(pond, "/files/a.bin").body == old
    with contextlib.ExitStack() as stack:
        readers = slow_readers(stack, pond, "/files/a.bin")
        upstream.put("/a.bin", new)
        dropped = flush(pond)
        assert (dropped.status, dropped.whole) == (200, True)
        for number, seen in by_worker(pond, "/files/a.bin").items():
            assert sha256(seen.body) == sha256(new), f"worker {number} serves what was flushed"
        operate(pond, "gc")
        assert blobs(pond) == {sha256(new), sha256(upload_body)}
        assert all_right(readers, old)
    assert fetch(pond, "/kept/u.bin").body == upload_body
    assert upstream.count("/a.bin") == 2
    assert operate(pond, "fsck")["ok"]


def test_no_worker_serves_what_was_flushed(pond, upstream):
    """Round after round, each worker has the object in memory when the flush comes to one of them."""
    for number in range(20):
        body = content(f"version {number}", 5000)
        upstream.put("/v.bin", body)
        for worker, seen in by_worker(pond, "/files/v.bin").items():
            assert seen.body == body, f"worker {worker}, version {number}"
        assert flush(pond).status == 200
    assert upstream.count("/v.bin") == 20


@pytest.mark.parametrize("drop", ["flush", "gc"])
def test_a_flight_under_way_arrives_whatever_is_dropped_meanwhile(pond, upstream, drop):
    body = content("cold", BIG)
    upstream.put("/cold.bin", body)
    hold = upstream.hold("/cold.bin", after_bytes=BIG // 2)
    with contextlib.ExitStack() as stack:
        readers = slow_readers(stack, pond, "/files/cold.bin")
        hold.wait_reached()
        for _ in range(3):
            assert flush(pond).status == 200 if drop == "flush" else operate(pond, "gc")["orphans"] == 0
        hold.release()
        assert all_right(readers, body)
    assert upstream.count("/cold.bin") == 1
    assert operate(pond, "fsck")["ok"]


def test_a_deleted_upload_is_read_to_its_end_and_gone_from_both_workers(pond):
    body = content("upload", BIG)
    assert upload(pond, "kept/big.bin", body).status == 201
    with contextlib.ExitStack() as stack:
        readers = slow_readers(stack, pond, "/kept/big.bin")
        gone = fetch(pond, "/api/v1/remote/kept/big.bin", method="DELETE", headers=admin(pond))
        assert gone.status == 204
        assert {seen.status for seen in by_worker(pond, "/kept/big.bin").values()} == {404}
        operate(pond, "gc")
        assert blobs(pond) == set()
        assert all_right(readers, body)


MAX_SIZE = 24 * MIB
EVICTING = f'max_size = "{MAX_SIZE // MIB}MiB"\nhigh_watermark = 0.9\nlow_watermark = 0.6'


def stored_bytes(pond):
    return sum(path.stat().st_size for path in (pond.data / "storage" / "blobs").rglob("*") if path.is_file())


def test_eviction_beside_transfers_keeps_below_the_watermark_and_takes_no_upload(make_pond, upstream):
    pond = make_pond(CONFIG.format(upstream=upstream.url, storage=EVICTING), workers=2)
    uploads = {f"u{number}.bin": content(f"upload {number}", MIB) for number in range(8)}
    for name, body in uploads.items():
        assert upload(pond, f"kept/{name}", body).status == 201
    held = content("held", 8 * MIB)
    upstream.put("/held.bin", held)
    assert fetch(pond, "/files/held.bin").body == held
    with contextlib.ExitStack() as stack:
        readers = slow_readers(stack, pond, "/files/held.bin")
        for number in range(30):
            body = content(f"object {number}", MIB)
            upstream.put(f"/o{number}.bin", body)
            assert fetch(pond, f"/files/o{number}.bin").body == body
        before = stored_bytes(pond)
        report = operate(pond, "gc")
        assert report["evicted"] > 0 or before <= MAX_SIZE, "where much time passed it came by itself"
        below = 0.6 if report["evicted"] else 0.9  # what came by itself has made room down to the lower mark before
        assert stored_bytes(pond) <= MAX_SIZE * below
        assert all_right(readers, held)
    for name, body in uploads.items():
        assert fetch(pond, f"/kept/{name}").body == body
    latest = fetch(pond, "/files/o29.bin")
    assert (latest.source, latest.body) == ("cache", content("object 29", MIB))
    assert operate(pond, "fsck")["ok"]


def test_eviction_comes_by_itself_while_clients_pull(make_pond, upstream):
    pond = make_pond(CONFIG.format(upstream=upstream.url, storage=EVICTING), workers=2)
    kept = content("kept", 4 * MIB)
    assert upload(pond, "kept/u.bin", kept).status == 201
    for number in range(40):
        upstream.put(f"/o{number}.bin", content(f"object {number}", MIB))
    wrong: list[str] = []
    done = threading.Event()

    def pull(first: int) -> None:
        number = first
        while not done.is_set():
            seen = fetch(pond, f"/files/o{number % 40}.bin")
            if seen.body != content(f"object {number % 40}", MIB):
                wrong.append(f"{number}: {seen.status}, {len(seen.body)} bytes")
            number += 1

    threads = [threading.Thread(target=pull, args=(number * 20,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: stored_bytes(pond) > MAX_SIZE * 0.9, "the store did not fill")
        until(lambda: stored_bytes(pond) < MAX_SIZE * 0.9, "nothing was evicted")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    until(lambda: stored_bytes(pond) <= MAX_SIZE * 0.9, "it stays above the watermark")
    assert fetch(pond, "/kept/u.bin").body == kept


def test_eviction_spares_uploads_that_alone_exceed_the_limit(make_pond, upstream):
    pond = make_pond(CONFIG.format(upstream=upstream.url, storage='max_size = "2MiB"'))
    uploads = {f"u{number}.bin": content(f"upload {number}", MIB) for number in range(4)}
    for name, body in uploads.items():
        assert upload(pond, f"kept/{name}", body).status == 201
    upstream.put("/o.bin", content("object", MIB))
    assert fetch(pond, "/files/o.bin").status == 200
    operate(pond, "gc")
    assert entries(pond, "files") == {}
    for name, body in uploads.items():
        assert fetch(pond, f"/kept/{name}").body == body
