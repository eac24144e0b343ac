"""kill -9 during a mixed load, 200 times: nothing acknowledged lost, nothing wrong served, ready again in 5 seconds."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import pytest
from tests.faults.traffic import (
    Seen,
    blobs,
    content,
    entries,
    fetch,
    flush,
    operate,
    until,
    upload,
    waited_for_a_processor_s,
    workers,
)

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]
READY_S = 5.0
ROUNDS = 24
WORKER_ROUNDS = 8
CLIENTS = 4
CONFIG = """
[storage]
collect_grace_s = 0
[upstream]
read_timeout_s = 5
[repositories.files]
package = "generic"
base_url = "{upstream}"
immutable_patterns = ["^fixed/"]
mutable_patterns = ["^changing/"]
mutable_ttl_s = 0
check_mutable_updates = true
[repositories.kept]
package = "generic"
type = "local"
"""


@dataclass
class Ledger:
    """What clients were told, and whatever was wrong with it. Times are monotonic."""

    seed: int
    uploaded: dict[str, bytes] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    fetched: dict[str, float] = field(default_factory=dict)
    flushed_at: float = 0.0
    wrong: list[str] = field(default_factory=list)
    answers: int = 0
    broken: int = 0
    flushes: int = 0
    numbers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int:
        with self.lock:
            self.numbers += 1
            return self.numbers


class Load:
    """Clients that pull, pull again, upload and flush until they are told to stop; what breaks off is bad luck."""

    def __init__(self, pond: PondProcess, upstream: ThreadedUpstream, ledger: Ledger, flushing: bool) -> None:
        self._pond, self._upstream, self._ledger, self._flushing = pond, upstream, ledger, flushing
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self._ledger.seed} {number} {self._ledger.numbers}")
        while not self._done.is_set():
            action = dice.choices(
                (self._miss, self._hit, self._revalidate, self._upload, self._flush), (5, 4, 2, 4, 0.2)
            )
            try:
                action[0](dice)
                self._ledger.answers += 1
            except (OSError, http.client.HTTPException):
                self._ledger.broken += 1
                time.sleep(0.01)

    def _judge(self, path: str, seen: Seen, body: bytes) -> bool:
        """A whole 200 has the right bytes; what is broken off, or refused while the pond goes down, tells nothing."""
        if seen.status == 200 and seen.whole and seen.body != body:
            self._ledger.wrong.append(f"{path}: {len(seen.body)} wrong bytes, {seen.happened}")
        elif seen.status not in {200, 502}:
            self._ledger.wrong.append(f"{path}: {seen.status} {seen.body[:200]!r}")
        return seen.status == 200 and seen.whole

    def _miss(self, dice: random.Random) -> None:
        path = f"fixed/{self._ledger.next()}.bin"
        body = content(path, dice.choice((200, 5_000, 70_000, 400_000, 1_500_000)))
        self._upstream.put(f"/{path}", body)
        self._pull(path, body)

    def _pull(self, path: str, body: bytes) -> None:
        began = time.monotonic()
        if self._judge(path, fetch(self._pond, f"/files/{path}"), body):
            self._ledger.fetched[path] = began

    def _hit(self, dice: random.Random) -> None:
        known = list(self._ledger.fetched)
        if known:
            path = dice.choice(known[-40:])
            self._pull(path, self._upstream._resources[f"/{path}"].body)

    def _revalidate(self, dice: random.Random) -> None:
        path = f"changing/{dice.randrange(5)}.bin"
        body = content(path, 30_000)
        if f"/{path}" not in self._upstream._resources:
            self._upstream.put(f"/{path}", body)
        self._judge(path, fetch(self._pond, f"/files/{path}"), body)

    def _upload(self, dice: random.Random) -> None:
        name = f"u/{self._ledger.next()}.bin"
        body = content(f"{self._ledger.seed} {name}", dice.choice((10, 3_000, 100_000, 500_000)))
        self._ledger.sent.add(name)
        seen = upload(self._pond, f"kept/{name}", body)
        if seen.status == 201 and seen.whole:
            self._ledger.uploaded[name] = body
        elif seen.status != 201:
            self._ledger.wrong.append(f"{name}: {seen.status} {seen.body[:200]!r}")

    def _flush(self, _: random.Random) -> None:
        if self._flushing:
            with self._ledger.lock:
                try:
                    self._ledger.flushes += flush(self._pond).status == 200
                finally:  # it may have been done although nobody was told
                    self._ledger.flushed_at = time.monotonic()


def verify(pond: PondProcess, upstream: ThreadedUpstream, ledger: Ledger, recent: int) -> None:
    """Everything acknowledged is there, byte for byte, and came from here where nothing was flushed since."""
    for name in list(ledger.uploaded)[-recent:]:
        seen = fetch(pond, f"/kept/{name}")
        assert (seen.status, seen.whole) == (200, True), f"{name} was acknowledged: {seen.status}"
        assert seen.body == ledger.uploaded[name], name
    for path in list(ledger.fetched)[-recent:]:
        asked = upstream.count(f"/{path}")
        seen = fetch(pond, f"/files/{path}")
        assert (seen.status, seen.whole) == (200, True), path
        assert seen.body == upstream._resources[f"/{path}"].body, path
        if ledger.fetched[path] > ledger.flushed_at:
            assert upstream.count(f"/{path}") == asked, f"{path} was handed out whole, and is not kept"
    for name in sorted(ledger.sent - ledger.uploaded.keys())[-recent:]:
        seen = fetch(pond, f"/kept/{name}")
        assert seen.status == 404 or (seen.status == 200 and _is_whole(seen, ledger, name)), name
    assert ledger.wrong == []


def _is_whole(seen: Seen, ledger: Ledger, name: str) -> bool:
    """An upload that was not acknowledged is there whole, or not at all."""
    return seen.body == content(f"{ledger.seed} {name}", len(seen.body)) and len(seen.body) in {
        10,
        3_000,
        100_000,
        500_000,
    }


def nothing_is_left_over(pond: PondProcess) -> None:
    """After a collection there is a blob for each entry and an entry for each blob, and a clean bill of health."""
    operate(pond, "gc")
    known = {one["digest"] for name in ("files", "kept") for one in entries(pond, name).values() if one["digest"]}
    assert {f"sha256:{name}" for name in blobs(pond)} == known
    assert list((pond.data / "spool").iterdir()) == []
    assert not [path for path in (pond.data / "storage" / "local").rglob("*") if path.name.endswith(".new")]
    assert operate(pond, "fsck")["kinds"] == {}


@pytest.mark.parametrize("seed", range(8))
def test_killed_during_a_mixed_load(make_pond, nursery, upstream, seed):
    """Each sixth start is one in a new interpreter, as a user has it."""
    dice = random.Random(seed)
    pond = make_pond(CONFIG.format(upstream=upstream.url))
    ledger = Ledger(seed)
    for number in range(ROUNDS):
        with Load(pond, upstream, ledger, flushing=number % 3 == 2):
            time.sleep(dice.uniform(0.02, 0.5))  # the moment of the kill is what varies
            pond.kill()
        pond.nursery = None if number % 6 == 5 else nursery
        took_s = pond.start()
        assert took_s - waited_for_a_processor_s(pond.pid) < READY_S, f"{took_s:.1f} s"
        verify(pond, upstream, ledger, recent=15)
    nothing_is_left_over(pond)
    verify(pond, upstream, ledger, recent=10_000)
    assert len(ledger.uploaded) > ROUNDS
    assert len(ledger.fetched) > ROUNDS
    assert ledger.broken > 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("seed", [101])
def test_one_of_two_workers_killed(make_pond, upstream, seed):
    """The other one goes on without a break, and the dead one is replaced."""
    dice = random.Random(seed)
    pond = make_pond(CONFIG.format(upstream=upstream.url), workers=2)
    until(lambda: len(workers(pond)) == 2, "the second worker did not start")
    ledger = Ledger(seed)
    for number in range(WORKER_ROUNDS):
        with Load(pond, upstream, ledger, flushing=False):
            time.sleep(dice.uniform(0.1, 0.5))
            victim = workers(pond)[number % 2]
            os.kill(victim, signal.SIGKILL)
            answers = ledger.answers
            until(lambda before=answers: ledger.answers > before + 5, "the other worker stands still", READY_S)
            until(lambda gone=victim: len(workers(pond)) == 2 and gone not in workers(pond), "it was not replaced")
        verify(pond, upstream, ledger, recent=15)
    orphans = workers(pond)
    pond.kill()
    until(lambda: not any(map(alive, orphans)), "the supervisor's death leaves its workers running")
    pond.nursery = None
    took_s = pond.start()
    assert took_s - max(map(waited_for_a_processor_s, (pond.pid, *workers(pond)))) < READY_S, f"{took_s:.1f} s"
    nothing_is_left_over(pond)
    verify(pond, upstream, ledger, recent=10_000)
    assert ledger.broken > 0
