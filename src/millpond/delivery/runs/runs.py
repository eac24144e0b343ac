"""Runs: commands that go on whatever becomes of the daemon, each with a folder of its own and a `wrapper` around it.

Whether a run goes on is told by the lock of its folder, which the wrapper holds and the kernel gives back when it dies:
no pid is needed for that, so no stranger's can be mistaken for it. Pid and start time are kept for signals.

Folders are for their owner only. What a run was given (environment, secrets) is in a file that the wrapper removes as
soon as it has read it; secrets never stand in argument lists, and in the log they are masked as it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from millpond.delivery.model import Json
from millpond.delivery.runs import procfs
from millpond.delivery.runs.masks import forms
from millpond.delivery.runs.runfolder import LOCK, MARK, NOTES, STDIN, Ended, How, Lines, Run, read_json, take_lock
from millpond.delivery.runs.wrapper import EVENTS, SPEC, STATUS, put

P = ParamSpec("P")
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BOOT = "import sys; sys.path.append(sys.argv[1]); from millpond.delivery.runs.wrapper import main; main(sys.argv[2])"
_ROOT = Path(__file__).parents[3]
POLL_S = 0.1
STOP_S = 15.0
"""How long beyond the grace an asked wrapper may take, before it is ended itself."""
SWEEPS = 20

_CHILDREN: dict[Path, subprocess.Popen[bytes]] = {}
"""Wrappers that this process began, to be waited for; a reload makes other `Runs` of the same process."""
Heard: TypeAlias = Callable[[bytes], str]
"""Takes an event's line; gives why the run is to be ended, or nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a run, in seconds and bytes; `stall_s` 0: it may be silent."""

    timeout_s: float = 3600.0
    stall_s: float = 0.0
    grace_s: float = 10.0
    """Between TERM and KILL."""
    final_grace_s: float = 10.0
    """How long it may go on after its last event."""
    log_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Spec:
    """What is run. `env` is all of its environment; `secrets` are masked in its log."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    limits: Limits = Limits()
    secrets: Collection[str] = ()
    stdin: bytes = b""
    events: Collection[str] = ()
    """Types of the JSON lines of its standard output that are kept as events."""
    finals: Collection[str] = ()
    """Types of those after which it is done."""
    notes: Mapping[str, Json] = field(default_factory=dict)
    """What who started it wants to know when it is taken up again."""


class Runs:
    """The runs of one node, a folder for each below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.leaving = False
        """Whether this process ends and its runs are to go on: who waits for one and is cancelled leaves it alone."""

    async def start(self, name: str, spec: Spec) -> Run:
        """Begin a run. Raises `ValueError` (no name for one; there is one), `OSError`.

        Cancelled, it is known whether the run has begun by the time that this is raised.
        """
        return await _to_its_end(self._start, name, spec)

    async def prepared(self, name: str) -> Run:
        """Make a run's folder, with its HOME, before it is begun; what an attempt left that never began is removed.

        Raises `ValueError` (no name for one; there is one), `OSError`.
        """
        return await _to_its_end(self._prepared, name)

    async def forget(self, name: str) -> bool:
        """Remove the folder of a run that was prepared and never begun; gives whether there was one."""
        return await asyncio.to_thread(self._forget, name)

    async def find(self, name: str) -> Run | None:
        """Find a run that was begun."""
        run = Run(self._folder(name))
        return run if await asyncio.to_thread((run.folder / NOTES).exists) else None

    async def wait(self, run: Run, heard: Heard | None = None) -> Ended:
        """Follow a run to its end; cancelled: it is ended, unless this process leaves."""
        events = Lines(run.folder / EVENTS)
        why = ""
        try:
            while True:
                alive = await asyncio.to_thread(run.alive)
                if heard:
                    why = await asyncio.to_thread(_hear, events, heard) or why
                if not alive and events.behind:
                    continue
                if not alive:
                    break
                if why:
                    await self.end(run)
                    continue
                await asyncio.sleep(0 if events.behind else POLL_S)
            return await self._ended(run, why)
        except asyncio.CancelledError:
            if not self.leaving:
                await asyncio.shield(self.end(run))
            raise

    async def end(self, run: Run) -> None:
        """End a run and all that it started."""
        await asyncio.to_thread(_end, run)
        await self._reap(run)

    async def others(self, keep: Collection[str]) -> list[str]:
        """End the runs that go on and are not among `keep`; gives their names."""
        ended = []
        for run in await asyncio.to_thread(self._all):
            if run.name not in keep and await asyncio.to_thread(run.alive):
                await self.end(run)
                ended.append(run.name)
        return ended

    async def discard(self, run: Run) -> None:
        """End a run, and remove all of it: it is not what its name says."""
        await self.end(run)
        await asyncio.to_thread(shutil.rmtree, run.folder, ignore_errors=True)

    async def tidy(self, run: Run) -> None:
        """Remove what a run that has ended was given: its HOME and its input; the log stays."""
        await asyncio.to_thread(_tidy, run)

    async def prune(self, before: float, most: int = 100) -> int:
        """Remove at most so many that ended, or were left unbegun, before a time (epoch seconds); gives how many."""
        return await asyncio.to_thread(self._prune, before, most)

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a run")
        return self._root / name

    def _all(self) -> list[Run]:
        try:
            return [Run(entry) for entry in self._root.iterdir() if _NAME.fullmatch(entry.name)]
        except FileNotFoundError:
            return []

    def _prepared(self, name: str) -> Run:
        run = Run(self._folder(name))
        if (run.folder / NOTES).exists():
            raise ValueError(f"there is a run {name} already")
        shutil.rmtree(run.folder, ignore_errors=True)
        for folder in (self._root, run.folder, run.home, run.home / "tmp"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return run

    def _forget(self, name: str) -> bool:
        folder = self._folder(name)
        if not folder.exists() or (folder / NOTES).exists():
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def _start(self, name: str, spec: Spec) -> Run:
        run = Run(self._folder(name))
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        run.folder.mkdir(exist_ok=True, mode=0o700)
        lock = take_lock(run.folder)
        if lock is None or (run.folder / NOTES).exists():
            raise ValueError(f"there is a run {name} already")
        try:
            _prepare(run, spec)
            argv = [sys.executable, "-I", "-S", "-c", _BOOT, str(_ROOT), str(run.folder)]
            null = subprocess.DEVNULL
            _CHILDREN[run.folder] = subprocess.Popen(  # noqa: S603 - our own program
                argv,
                stdin=null,
                stdout=null,
                stderr=null,
                cwd="/",
                env={"LC_ALL": "C.UTF-8"},
                start_new_session=True,
                pass_fds=(lock,),
            )
        except BaseException:
            (run.folder / NOTES).unlink(missing_ok=True)  # one that could not be begun is none
            raise
        finally:
            os.close(lock)
        return run

    async def _ended(self, run: Run, why: str) -> Ended:
        await self._reap(run)
        found = await asyncio.to_thread(run.status)
        if found is None:
            await self.end(run)  # its wrapper was killed: what it left is swept
            found = Ended(How.LOST)
        return found if not why else Ended(found.how, found.rc, found.detail, found.said, found.left, why=why)

    async def _reap(self, run: Run) -> None:
        """Wait for a wrapper that is our child and has ended."""
        child = _CHILDREN.pop(run.folder, None)
        if child is not None:
            await asyncio.to_thread(child.wait)

    def leave(self) -> None:
        """Let the runs go on when this process ends."""
        self.leaving = True

    def _prune(self, before: float, most: int) -> int:
        removed = 0
        for run in self._all():
            if removed < most and _ended_at(run) < before and not run.alive():
                shutil.rmtree(run.folder, ignore_errors=True)
                removed += 1
        return removed


async def _to_its_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something in a thread; who is cancelled, even again, hears it when it is over, so that nothing goes on."""
    doing = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({doing})
        raise


def _hear(events: Lines, heard: Heard) -> str:
    """Let somebody hear the next events; gives the last reason to end the run, if there is one."""
    return next((why for why in reversed([heard(line) for line in events.read()]) if why), "")


def _prepare(run: Run, spec: Spec) -> None:
    mark = secrets.token_hex(16)
    run.home.mkdir(mode=0o700, exist_ok=True)
    if spec.stdin:
        _write(run.folder / STDIN, spec.stdin)
    limits = spec.limits
    told: dict[str, Any] = {
        "argv": list(spec.argv),
        "cwd": str(spec.cwd),
        "env": {**spec.env, procfs.MARK: mark},
        "stdin": str(run.folder / STDIN) if spec.stdin else "",
        "secrets": sorted({form.decode("latin-1") for one in spec.secrets for form in forms(one)}),
        "events": sorted(spec.events),
        "finals": sorted(spec.finals),
        **{name: getattr(limits, name) for name in ("timeout_s", "stall_s", "grace_s", "final_grace_s", "log_bytes")},
    }
    put(run.folder / SPEC, told)
    put(run.folder / MARK, {"mark": mark, "grace_s": limits.grace_s})
    put(run.folder / NOTES, dict(spec.notes))


def _write(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)


def _ended_at(run: Run) -> float:
    """Give when a run ended, at the earliest: one that was killed says nothing, one that never began has no lock."""
    for file in (run.folder / STATUS, run.folder / LOCK, run.folder):
        with contextlib.suppress(FileNotFoundError):
            return file.stat().st_mtime
    return float("inf")


def _end(run: Run) -> None:
    """Ask the wrapper to end the run; if it does not, or is gone, do it here, by the run's mark."""
    marks = read_json(run.folder / MARK) or {}
    until = time.monotonic() + float(marks.get("grace_s", 0.0)) + STOP_S
    asked = False
    while run.alive() and time.monotonic() < until:
        asked = asked or _signal(run, signal.SIGTERM)
        time.sleep(POLL_S)
    if run.alive():
        _signal(run, signal.SIGKILL)
    if (run.folder / STATUS).exists():
        return
    for _ in range(SWEEPS):
        left = procfs.marked(str(marks.get("mark") or "none"))
        if not left:
            break
        for one in left:
            procfs.send(one, signal.SIGKILL)
        time.sleep(POLL_S)
    (run.folder / SPEC).unlink(missing_ok=True)


def _signal(run: Run, number: signal.Signals) -> bool:
    """Signal a run's wrapper, if it is the one that was noted; gives whether there was one."""
    who = run.who()
    if who is None or not procfs.same(who.pid, who.start, who.boot):
        return False
    found = procfs.look(who.pid)
    if found is not None and found.start == who.start:
        procfs.send(found, number)
    return True


def _tidy(run: Run) -> None:
    shutil.rmtree(run.home, ignore_errors=True)
    for name in (STDIN, SPEC):
        with contextlib.suppress(FileNotFoundError):
            (run.folder / name).unlink()
