"""Processes as Linux's /proc tells of them: who is who, whose child, and which belong to a run.

A process is known by its pid and its start time (clock ticks since the boot) together, so that a stranger who was given
the same pid later is never taken for it. Standard library only: the wrapper of a run reads this without site-packages.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "MILLPOND_RUN"
"""The variable that every process of a run has in its environment."""
MAX_ENVIRON = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `start`: clock ticks since the boot."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str


def boot_id() -> str:
    """Name this boot of the machine; start times count from it."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def look(pid: int) -> Process | None:
    """Read a process's line (proc(5), ``/proc/PID/stat``); None: it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    words = text[text.rfind(")") + 2 :].split()  # the name before may hold anything
    return Process(pid, int(words[1]), int(words[2]), int(words[3]), int(words[19]), words[0])


def everyone() -> Iterator[Process]:
    """Give all processes."""
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (found := look(int(entry.name))) is not None:
            yield found


def same(pid: int, start: int, boot: str) -> bool:
    """Whether a process lives that is known by these."""
    found = look(pid)
    return found is not None and found.start == start and found.state != "Z" and boot == boot_id()


def descendants(of: int, among: Iterable[Process]) -> list[Process]:
    """Give the children of a process, their children, and so on; zombies are left out."""
    children: dict[int, list[Process]] = {}
    for one in among:
        children.setdefault(one.parent, []).append(one)
    found: list[Process] = []
    ahead = [of]
    while ahead:
        for child in children.get(ahead.pop(), ()):
            ahead.append(child.pid)
            found += [child] if child.state != "Z" else []
    return found


def marked(mark: str) -> list[Process]:
    """Give the processes whose environment says that they belong to a run."""
    wanted = f"{MARK}={mark}".encode()
    return [one for one in everyone() if one.state != "Z" and _has(one.pid, wanted)]


def _has(pid: int, wanted: bytes) -> bool:
    try:
        with (PROC / str(pid) / "environ").open("rb") as file:
            return wanted in file.read(MAX_ENVIRON).split(b"\0")
    except OSError:
        return False


def send(process: Process, number: signal.Signals) -> None:
    """Signal a process, and nobody who was given its pid since."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            found = look(process.pid)
            if found is not None and found.start == process.start:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
