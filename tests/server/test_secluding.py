"""Whether a process beside which jobs may run is closed to others of its user."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.process

CODE = """
import ctypes, os, sys
from types import SimpleNamespace
from millpond.server.secluding import seclude_where_jobs_run

prctl, (get, put) = ctypes.CDLL(None).prctl, (3, 4)  # PR_GET_DUMPABLE, PR_SET_DUMPABLE
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534), prctl(put, 1, 0, 0, 0)
for line in sys.stdin:
    on, worker = (word == "yes" for word in line.split())
    app = SimpleNamespace(delivering=SimpleNamespace(on=on, options=SimpleNamespace(worker=worker)))
    print(seclude_where_jobs_run(app), prctl(get, 0, 0, 0, 0), flush=True)
"""


def look(pid: int) -> str:
    """Read a process's environment as another one of its user."""
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    words = ["cat", f"/proc/{pid}/environ"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **nobody).stdout


@pytest.mark.timeout(120)
def test_where_jobs_may_run_no_other_process_of_the_user_gets_at_it():
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environ = {**os.environ, "CANARY": "canary-in-the-environment"}
    with subprocess.Popen([sys.executable, "-c", CODE], env=environ, **pipes) as made:
        assert made.stdin
        assert made.stdout
        for on, worker, told, seen in (
            ("no", "yes", "False 1\n", True),
            ("yes", "no", "False 1\n", True),
            ("yes", "yes", "True 0\n", False),
        ):
            made.stdin.write(f"{on} {worker}\n")
            made.stdin.flush()
            assert made.stdout.readline() == told
            assert ("canary-in-the-environment" in look(made.pid)) == seen
        made.stdin.close()


DAEMON = """
import ctypes, os, sys
from types import SimpleNamespace
from millpond.cli import setup
import millpond.server.main as main

def run(where, was_open):
    print(was_open, flush=True)
    delivery = SimpleNamespace(enabled=True, worker=sys.stdin.readline() == "jobs\\n")
    print(main.reveal_where_no_jobs_run(SimpleNamespace(projects={"shop": 1}, delivery=delivery)), flush=True)
    sys.stdin.readline()
    return 0

main.run = run
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534), ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
setup.serve(None, None, None, None, None)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("jobs", [True, False])
def test_the_daemon_is_closed_before_its_configuration_is_read_and_opened_where_no_jobs_run(jobs: bool):
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environ = {**os.environ, "CANARY": "canary-in-the-environment"}
    with subprocess.Popen([sys.executable, "-c", DAEMON], env=environ, **pipes) as made:
        assert made.stdin
        assert made.stdout
        assert made.stdout.readline() == "True\n"
        assert "canary-in-the-environment" not in look(made.pid)
        made.stdin.write("jobs\n" if jobs else "none\n")
        made.stdin.flush()
        assert made.stdout.readline() == f"{not jobs}\n"
        assert ("canary-in-the-environment" in look(made.pid)) == (not jobs)
        made.stdin.close()
