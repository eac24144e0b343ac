"""What a forked worker inherits, and what it does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

TIMEOUT_S = 60


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a program of its own: a test's own process has threads."""
    begin = "import os, signal, sys, time\nfrom millpond.server.forking import fork\n"
    argv = [sys.executable, "-c", begin + textwrap.dedent(code), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


WAIT = """
def wait(child):
    while (code := child.poll()) is None:
        time.sleep(0.01)
    return code
"""


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("lambda: None", 0),
        ("lambda: sys.exit(3)", 3),
        ("lambda: 1 / 0", 1),
        ("lambda: os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_parent_learns_how_it_ended(work: str, code: int):
    done = run(f"{WAIT}\nchild = fork({work}, [], 'w')\nprint(wait(child), child.poll())\nchild.send_signal(15)")
    assert done.stdout == f"{code} {code}\n"
    assert done.returncode == 0, done.stderr
    assert ("ZeroDivisionError" in done.stderr) == ("1 / 0" in work)


def test_it_never_comes_back_into_its_parents_code():
    done = run(f"{WAIT}\nwait(fork(lambda: print('child'), [], 'w'))\nprint('parent')")
    assert done.stdout == "child\nparent\n"


def test_it_keeps_only_the_descriptors_it_is_given(tmp_path: Path):
    done = run(
        f"""
        {textwrap.indent(WAIT, " " * 8).strip()}
        kept, lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), os.open(sys.argv[1], os.O_RDONLY)
        def work():
            os.fstat(kept)
            try:
                os.fstat(lock)
            except OSError:
                print("closed")
        print(wait(fork(work, [kept], 'w')))
        """,
        str(tmp_path / "file"),
    )
    assert done.stdout == "closed\n0\n", done.stderr


def test_its_signals_are_its_own():
    done = run(
        f"""
        {textwrap.indent(WAIT, " " * 8).strip()}
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: print("the parent's handler", flush=True))
        def work():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.sigpending() == {{signal.SIGHUP}}
            os.kill(os.getpid(), signal.SIGTERM)
        print(wait(fork(work, [], 'w')))
        os.kill(os.getpid(), signal.SIGHUP)
        """
    )
    assert done.stdout == f"{-signal.SIGTERM}\nthe parent's handler\n", done.stderr


def test_it_dies_with_its_parent():
    done = run(
        """
        child = fork(lambda: time.sleep(600), [], 'w')
        print(child.pid, flush=True)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    child = int(done.stdout)
    until = time.monotonic() + TIMEOUT_S
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
