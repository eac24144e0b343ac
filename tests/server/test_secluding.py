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
