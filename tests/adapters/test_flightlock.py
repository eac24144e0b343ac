"""One seat per key, whatever dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millpond.adapters.flightlock import FileFlightLock
from millpond.artifacts.ports import FAILED, LANDED, STREAMING, UNSHARED


@pytest.fixture
def lock(tmp_path: Path) -> FileFlightLock:
    return FileFlightLock(tmp_path)


def test_only_one_leads(lock: FileFlightLock):
    seat = lock.lead("k")
    assert seat is not None
    assert lock.lead("k") is None
    other = lock.lead("other")
    assert other is not None
    other.leave(LANDED)
    seat.leave(LANDED)
    again = lock.lead("k")
    assert again is not None
    again.leave(LANDED)


def test_a_follower_sees_head_progress_and_end(lock: FileFlightLock):
    seat = lock.lead("k")
    assert seat is not None
    watch = lock.follow("k")
    assert watch is not None
    assert watch.look().head == b""
    seat.announce(b"head")
    seat.progress(42)
    assert (watch.look().phase, watch.look().written, watch.look().head) == (STREAMING, 42, b"head")
    assert not watch.abandoned()
    seat.leave(FAILED)
    assert watch.look().phase == FAILED
    assert not watch.abandoned()
    watch.close()


def test_nobody_leads_nothing_to_follow(lock: FileFlightLock):
    assert lock.follow("k") is None
    seat = lock.lead("k")
    assert seat is not None
    seat.leave(LANDED)
    assert lock.follow("k") is None
    assert list(lock.spool.iterdir()) == []


def test_a_leader_may_stop_sharing(lock: FileFlightLock):
    seat = lock.lead("k")
    watch = lock.follow("k")
    assert seat is not None
    assert watch is not None
    seat.unshare()
    assert watch.look().phase == UNSHARED
    seat.leave(UNSHARED)
    watch.close()


def test_a_head_that_does_not_fit_is_refused(lock: FileFlightLock):
    seat = lock.lead("k")
    assert seat is not None
    with pytest.raises(ValueError, match="too large"):
        seat.announce(bytes(20_000))
    seat.leave(FAILED)


LEADER = """
import pathlib, sys, time
from millpond.adapters.flightlock import FileFlightLock
seat = FileFlightLock(pathlib.Path(sys.argv[1])).lead("k")
seat.announce(b"mine")
print("leading", flush=True)
time.sleep(60)
"""


def test_a_killed_leader_loses_its_seat_and_its_followers_notice(lock: FileFlightLock):
    argv = [sys.executable, "-c", LEADER, str(lock.spool)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"leading\n"
        watch = lock.follow("k")
        assert watch is not None
        assert lock.lead("k") is None
        process.kill()
        process.wait()
    assert watch.abandoned()
    assert watch.look().head == b"mine"
    seat = lock.lead("k")
    assert seat is not None, "the next one takes over"
    assert watch.abandoned(), "and is not taken for the dead one"
    seat.leave(LANDED)
    watch.close()


def test_the_sweep_takes_what_is_dead_and_old_only(lock: FileFlightLock):
    seat = lock.lead("alive")
    (lock.spool / "1-1.part").write_bytes(b"abc")
    assert lock.sweep(60) == (0, 0)
    old = time.time() - 100
    for path in lock.spool.iterdir():
        os.utime(path, (old, old))
    assert lock.sweep(60, dry_run=True) == (1, 3)
    assert lock.sweep(60) == (1, 3)
    assert len(list(lock.spool.iterdir())) == 1
    assert seat is not None
    seat.leave(LANDED)
