"""Waking who waits for work: at once, within this process and from others of the same data directory.

The ledger tells of each of its commits. Who waits in this process is woken by a bell; a process that does not run
the loops (another worker, which took a webhook) writes a byte into a pipe in the data directory, which the one that
runs them reads. A byte that is lost costs nothing but time: whoever waits looks for itself now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from millpond.delivery.ledger.books import Point

LOOK, WORK, SEND, POLL = "look", "work", "send", "poll"
WAKES: Mapping[Point, tuple[str, ...]] = {
    Point.NUDGE: (LOOK,),
    Point.CLAIM: (LOOK,),
    Point.FINISH: (LOOK, WORK),
    Point.REAP: (LOOK, WORK),
    Point.RELEASE: (LOOK,),
    Point.PARK: (LOOK,),
    Point.CANCEL: (LOOK, WORK),
    Point.VERDICT: (LOOK,),
    Point.HURRY: (LOOK,),
    Point.CREATE: (LOOK,),
    Point.APPLY: (WORK, SEND),
    Point.CONFIRM: (LOOK,),
    Point.DROP_OUTBOX: (LOOK,),
}
"""What a commit gives somebody to do."""
PIPE = "delivery.wake"
_LETTERS = {b"l": LOOK, b"w": WORK, b"s": SEND, b"p": POLL}


class Bell:
    """Wakes one of those who wait, or the next one who comes: who finds more work than one can do rings again."""

    def __init__(self) -> None:
        self.rung = False
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        """Wake one."""
        while self._waiting:
            first = self._waiting.pop(0)
            if not first.done():
                first.set_result(None)
                return
        self.rung = True

    async def wait(self, timeout_s: float) -> None:
        """Wait until it is rung, or the time is over."""
        if self.rung:
            self.rung = False
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await asyncio.wait((mine,), timeout=max(timeout_s, 0.0))
        except asyncio.CancelledError:
            if mine.done():  # it was woken, and does nothing about it any more
                self.ring()
            raise
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)


class Wakes:
    """The bells of one process. `listen` makes it the one that others wake."""

    def __init__(self, data: Path) -> None:
        self._path = data / PIPE
        self._bells = {name: Bell() for name in (LOOK, WORK, SEND, POLL)}
        self._loop = asyncio.get_running_loop()
        self._reading: int | None = None

    def bell(self, name: str) -> Bell:
        """Give the bell that says that there may be something to do."""
        return self._bells[name]

    def committed(self, point: Point, moment: str) -> None:
        """Take the ledger's word that it committed something; called in the database's thread."""
        if moment == "after" and point in WAKES:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self.wake, *WAKES[point])

    def wake(self, *names: str) -> None:
        """Wake who waits, in whichever process."""
        for name in names:
            self._bells[name].ring()
        if self._reading is None:
            self._tell(b"".join(letter for letter, name in _LETTERS.items() if name in names))

    async def wait(self, name: str, timeout_s: float) -> None:
        """Wait until there may be something to do."""
        await self._bells[name].wait(timeout_s)

    def listen(self) -> None:
        """Be woken by others from now on."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o600)
        if not stat.S_ISFIFO(self._path.lstat().st_mode):
            raise FileExistsError(f"{self._path} is no pipe: remove it")
        self._reading = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # read-write: never at its end
        self._loop.add_reader(self._reading, self._read)

    def close(self) -> None:
        """Hear no more."""
        if self._reading is not None:
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            self._reading = None

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for letter in set(os.read(self._reading or 0, 4096)):
                if name := _LETTERS.get(bytes([letter])):
                    self._bells[name].ring()

    def _tell(self, letters: bytes) -> None:
        """Write to the process that listens; nobody listens, or it is behind: it finds the work by itself."""
        with contextlib.suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, letters)
            finally:
                os.close(fd)
