"""The machine that is measured on: its cores, who runs on which, what it is, and what processes take of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SERVER_CORES = frozenset({0})
BOTH_CORES = frozenset({0, 1})
_VERSIONS = {
    "nginx": ["nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "varnish": ["varnishd", "-V"],
    "squid": ["squid", "-v"],
    "docker-registry": ["docker-registry", "--version"],
    "apt-cacher-ng": ["dpkg-query", "-W", "-f", "${Version}", "apt-cacher-ng"],
}


def load_cores(server: frozenset[int] = SERVER_CORES) -> frozenset[int]:
    """Say where the load generator runs: beside a server on one core on the next, beside two on a third if there is.

    On a machine with two cores a server on both shares one with the load; nginx beside it does so too.
    """
    return frozenset({min(len(server), (os.cpu_count() or 2) - 1)})


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Let what is started meanwhile run there: a child inherits this thread's cores, and its threads its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def find(program: str) -> str | None:
    """Find a program, in the administrator's folders too: servers live there."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def descendants(pid: int) -> list[int]:
    """List a process and all that came of it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory(pids: Iterable[int]) -> float:
    """Sum the MiB that processes hold: PSS, each shared page in equal parts, so that nothing counts twice."""
    return sum(_pss_kib(pid) for pid in pids) / 1024


def processor_s(pids: Iterable[int]) -> float:
    """Sum the seconds of processor time that processes have used, their own and the kernel's for them."""
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _pss_kib(pid: int) -> int:
    try:
        found = re.search(r"(?m)^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def describe(peers: Path) -> dict[str, Any]:
    """Describe this machine, with no name of it: what a reader needs to set figures beside their own."""
    cpu = re.search(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "at": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu[1].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(total[1]) / 2**20, 1) if total else None,
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "commit": _commit(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: told for name, argv in _VERSIONS.items() if (told := _version(argv))} | _packages(peers),
    }


def _system() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


def _version(argv: list[str]) -> str:
    program = find(argv[0])
    if program is None:
        return ""
    told = subprocess.run([program, *argv[1:]], capture_output=True, text=True, check=False, timeout=20)
    if told.returncode and "dpkg-query" in argv:
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)*", told.stdout + told.stderr)
    return found[0] if found else "unknown"


def _packages(peers: Path) -> dict[str, str]:
    """Read the versions of the peers that npm and pip installed."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((peers / "verdaccio" / "node_modules" / "verdaccio" / "package.json").read_text())
        found["verdaccio"] = str(told.get("version"))
    for folder in peers.glob("proxpi/lib/python*/site-packages/proxpi-*.dist-info"):
        found["proxpi"] = folder.name.removeprefix("proxpi-").removesuffix(".dist-info")
    return found


def _commit() -> str:
    root = Path(__file__).parent.parent
    with contextlib.suppress(OSError):
        argv = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def say(text: str) -> None:
    """Tell the progress, a line at a time."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
