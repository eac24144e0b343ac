"""Waking who waits for work: at once, within this process and from others of the same data directory.

The ledger tells of each of its commits. What waits in this process is woken by an event; a process that does not run
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

from millpond.delivery.books import Point

LOOK, WORK, SEND, POLL = "look", "work", "send", "poll"
WAKES: Mapping[Point, tuple[str, ...]] = {
    Point.NUDGE: (LOOK,),
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


class Wakes:
    """The events of one process. `listen` makes it the one that others wake."""

    def __init__(self, data: Path) -> None:
        self._path = data / PIPE
        self._events = {name: asyncio.Event() for name in (LOOK, WORK, SEND, POLL)}
        self._loop = asyncio.get_running_loop()
        self._reading: int | None = None

    def event(self, name: str) -> asyncio.Event:
        """Give the event that says that there may be something to do."""
        return self._events[name]

    def committed(self, point: Point, moment: str) -> None:
        """Take the ledger's word that it committed something; called in the database's thread."""
        if moment == "after" and point in WAKES:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self.wake, *WAKES[point])

    def wake(self, *names: str) -> None:
        """Wake who waits, in whichever process."""
        for name in names:
            self._events[name].set()
        if self._reading is None:
            self._tell(b"".join(letter for letter, name in _LETTERS.items() if name in names))

    async def wait(self, name: str, timeout_s: float) -> None:
        """Wait until there may be something to do."""
        event = self._events[name]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), max(timeout_s, 0.0))
        event.clear()

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
                    self._events[name].set()

    def _tell(self, letters: bytes) -> None:
        """Write to the process that listens; nobody listens, or it is behind: it finds the work by itself."""
        with contextlib.suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, letters)
            finally:
                os.close(fd)
