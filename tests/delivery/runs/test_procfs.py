from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from millpond.delivery.runs import procfs
from millpond.delivery.runs.procfs import Process, descendants, look, marked, same, send


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "1000"], env={procfs.MARK: "mark-of-this-test"}, start_new_session=True)
    yield child
    child.kill()
    child.wait()


def test_a_process_is_read_whatever_its_name_is(tmp_path):
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "1000"])
    try:
        found = look(child.pid)
        assert found
        assert (found.pid, found.parent) == (child.pid, os.getpid())
    finally:
        child.kill()
        child.wait()
    assert look(child.pid) is None


def test_it_is_the_same_by_pid_start_and_boot_together(sleeper):
    found = look(sleeper.pid)
    assert found
    boot = procfs.boot_id()
    assert same(found.pid, found.start, boot)
    assert not same(found.pid, found.start + 1, boot)
    assert not same(found.pid, found.start, "another boot")
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not same(found.pid, found.start, boot), "a zombie lives no more"


def test_a_stranger_with_its_pid_is_not_signalled(sleeper):
    found = look(sleeper.pid)
    assert found
    send(replace(found, start=found.start - 1), signal.SIGKILL)
    assert sleeper.poll() is None
    send(found, signal.SIGKILL)
    assert sleeper.wait(30) == -signal.SIGKILL


def test_the_marked_are_found_by_their_whole_mark(sleeper):
    assert [one.pid for one in marked("mark-of-this-test")] == [sleeper.pid]
    assert marked("mark-of-this") == []


def test_descendants_of_descendants_are_found_and_zombies_are_not():
    def one(pid: int, parent: int, state: str = "S") -> Process:
        return Process(pid, parent, 1, 1, pid, state)

    among = [one(2, 1), one(3, 2), one(4, 3, "Z"), one(5, 4), one(6, 9)]
    assert sorted(found.pid for found in descendants(1, among)) == [2, 3, 5]
