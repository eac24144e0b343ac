"""The bytes of one flight, on their way in: a file that grows and that any number of clients read while it does.

The file is reserved before it is written. When the disk has no room, at the start or in the middle, the flight goes on
without it: what does not fit stays in a bounded window in memory, and the source is held back until the slowest
attached reader has passed. Such a flight is not shared: readers that come after bytes were let go need a flight of
their own.

Nothing is read beyond `limit`: the tail is withheld until the flight says that its bytes are right.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import os
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from millpond.artifacts.soundness import Verifier

WINDOW_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 64 * 1024
INLINE_BYTES = 64 * 1024
SUFFIX = ".part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes that lie in an open file: `size` of them from `offset` on. Good for as long as its owner keeps it open."""

    fd: int
    offset: int
    size: int

    def __len__(self) -> int:
        """Give its size."""
        return self.size


class Aborted(Exception):
    """The flight failed after its first bytes were handed out: the transfer must be broken off."""


class Tape:
    """The reading side: bytes up to `limit` can be read, more may come. All methods belong to the event loop."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.limit = 0
        self.done = False
        self._aborted: str | None = None
        self._readers: dict[int, int] = {}
        self._changed: asyncio.Future[None] | None = None

    @property
    def joinable(self) -> bool:
        """Whether a reader that comes now still finds every byte."""
        return self._aborted is None

    @property
    def deserted(self) -> bool:
        """Whether nobody reads."""
        return not self._readers

    def attach(self, start: int = 0) -> int:
        """Join as a reader from `start`; gives the reader's number for `read` and `detach`."""
        number = next(_numbers)
        self._readers[number] = start
        return number

    def detach(self, reader: int) -> None:
        """Leave."""
        self._readers.pop(reader, None)
        self.wake()

    async def read(self, reader: int, size: int) -> bytes:
        """Give the reader's next bytes, at most `size`; empty at the end. Raises `Aborted` when the flight failed."""
        start = await self._upcoming(reader)
        piece = self._piece(start, min(size, self.limit - start)) if start < self.limit else b""
        self._passed(reader, start + len(piece))
        return piece

    async def take(self, reader: int, size: int) -> Region | bytes:
        """Give the reader's next bytes as `read` does, but where they lie in a file, say only where."""
        start = await self._upcoming(reader)
        region = self._region(start, min(size, self.limit - start)) if start < self.limit else None
        if region is None:
            return await self.read(reader, size)
        self._passed(reader, start + region.size)
        return region

    async def _upcoming(self, reader: int) -> int:
        """Wait until there is something to read, or the end; gives where the reader stands."""
        start = self._readers[reader]
        while start >= self.limit and not self.done and self._aborted is None:
            await self.changed()
        if self._aborted is not None:
            raise Aborted(self._aborted)
        return start

    def _passed(self, reader: int, place: int) -> None:
        self._readers[reader] = place

    def _region(self, start: int, size: int) -> Region | None:
        """Say where bytes lie in a file; None: in none."""
        raise NotImplementedError

    def _piece(self, start: int, size: int) -> bytes:
        raise NotImplementedError

    def complete(self, written: int) -> None:
        """Let the tail out: the bytes are right (and, if they are stored, acknowledged)."""
        self.limit = self.length = written
        self.done = True
        self.wake()

    def abort(self, reason: str) -> None:
        """Break off every reader."""
        self._aborted = reason
        self.wake()

    async def changed(self) -> None:
        """Wait until something changes: bytes, the end, a reader's place."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def wake(self) -> None:
        """Wake all who wait in `changed`."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def close(self) -> None:
        """Give up what the tape holds; no reads after this."""


class Spool(Tape):
    """The leader's tape: a spool file, or a window in memory where the disk has no room."""

    def __init__(
        self,
        folder: Path,
        room_bytes: int,
        length: int | None,
        writer: Executor | None = None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`writer`: who hashes and writes large chunks; `told`: called whenever readers may read more."""
        super().__init__(length)
        self._told = told
        self.written = 0
        self.path: Path | None = None
        self._writer = writer
        self._room_bytes = room_bytes
        self._fd = -1
        self._in_file = 0
        self._window: deque[tuple[int, bytes]] = deque()
        self._trimmed = False
        self._storing: Future[int] | None = None
        self._taking: asyncio.Task[None] | None = None
        if room_bytes > 0 and (length is None or length <= room_bytes):
            self._open(folder)

    def _open(self, folder: Path) -> None:
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells the sweeper that it is alive
            if self.length:
                os.posix_fallocate(fd, 0, self.length)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            return
        self.path, self._fd = path, fd

    @property
    def shared(self) -> bool:
        """Whether all its bytes are in a file that others may read."""
        return self.path is not None

    @property
    def filed(self) -> bool:
        """Whether every byte so far went to the file, for who has it open, even if it was kept or removed since."""
        return self._fd >= 0 and self._in_file == self.written

    @property
    def joinable(self) -> bool:
        """Whether a reader that comes now still finds every byte."""
        return super().joinable and not self._trimmed

    @property
    def overflowing(self) -> bool:
        """Whether its first bytes will soon be let go unless somebody reads: what has no place in the file is large."""
        return self.path is None and not self.done and self.written - self._in_file > WINDOW_BYTES // 2

    async def whole(self) -> None:
        """Wait until the body is whole, broken off, or overflowing."""
        while not self.done and self._aborted is None and not self.overflowing:
            await self.changed()

    async def write(self, chunk: bytes, verifier: Verifier) -> None:
        """Take the next bytes: hash, store, let readers have them. Holds back while readers lag behind a full window.

        A large chunk goes through the writer thread; one, so that the next can be read meanwhile, and so that their
        order is kept. `settle` after the last one.
        """
        await self.settle()
        if self._writer is not None and len(chunk) > INLINE_BYTES:
            self._storing = self._writer.submit(self._store, chunk, verifier)
            self._taking = asyncio.create_task(self._stored(chunk, self._storing))
        else:
            await self._take_in(chunk, self._store(chunk, verifier))

    async def settle(self) -> None:
        """Wait until all that `write` was given is hashed, stored and let out. Raises what the disk said."""
        taking, self._taking = self._taking, None
        if taking is not None:
            await taking

    async def _stored(self, chunk: bytes, storing: Future[int]) -> None:
        await self._take_in(chunk, await asyncio.wrap_future(storing))

    async def _take_in(self, chunk: bytes, kept: int) -> None:
        self._in_file += kept
        if kept < len(chunk):
            await self._remember(chunk[kept:], self.written + kept)
        self.written += len(chunk)
        self._let_out()

    def _store(self, chunk: bytes, verifier: Verifier) -> int:
        """Hash the chunk and write it to the file; gives how many bytes the disk took."""
        verifier.update(chunk)
        if self.path is not None and self.length is None and self.written + len(chunk) > self._room_bytes:
            self._lose_file()
        taken, fd = 0, self._fd
        while self.path is not None and taken < len(chunk):
            try:
                taken += os.pwrite(fd, memoryview(chunk)[taken:], self.written + taken)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._lose_file()
        return taken

    def _lose_file(self) -> None:
        """Go on without the file; what is in it stays readable through its descriptor."""
        path, self.path = self.path, None
        if path is not None:
            path.unlink(missing_ok=True)

    async def _remember(self, rest: bytes, offset: int) -> None:
        while self._readers and offset - min(self._readers.values()) > WINDOW_BYTES:
            await self.changed()
        self._window.append((offset, rest))
        self._trim()

    def _trim(self) -> None:
        """Let go of the window's pieces that every attached reader has passed, but for a window's worth."""
        slowest = min(self._readers.values(), default=self.written)
        while self._window:
            offset, piece = self._window[0]
            end = offset + len(piece)
            if end > slowest or self.written - end < WINDOW_BYTES:
                return
            self._window.popleft()
            self._trimmed = True

    def _let_out(self) -> None:
        end = self.written if self.length is None else min(self.written + TAIL_BYTES, self.length)
        self.limit = max(end - TAIL_BYTES, self.limit)
        self.wake()
        self._told()

    def start_bytes(self, size: int) -> bytes:
        """Read the first bytes, withheld or not."""
        return self._piece(0, min(size, self.written)) if self.written else b""

    def end_bytes(self, size: int) -> bytes:
        """Read the last bytes, withheld or not."""
        start = max(self.written - size, 0)
        got = b""
        while start + len(got) < self.written:
            got += self._piece(start + len(got), self.written - start - len(got))
        return got

    def _passed(self, reader: int, place: int) -> None:
        super()._passed(reader, place)
        if self.path is None:  # the source may be held back for this reader, also while the window is still empty
            self._trim()
            self.wake()

    def _region(self, start: int, size: int) -> Region | None:
        return Region(self._fd, start, min(size, self._in_file - start)) if start < self._in_file else None

    def _piece(self, start: int, size: int) -> bytes:
        if start < self._in_file:
            return os.pread(self._fd, min(size, self._in_file - start), start)
        for offset, piece in self._window:
            if offset <= start < offset + len(piece):
                return piece[start - offset : start - offset + size]
        raise Aborted("these bytes are gone: the disk is full and this reader came too late")

    def keep(self) -> Path | None:
        """Give the finished file for the store to take, without what was reserved and not used; None: there is none."""
        path, self.path = self.path, None
        if path is not None:
            os.ftruncate(self._fd, self.written)
        return path

    def close(self) -> None:
        """Give up the descriptor; a file that was not kept is removed.

        A thread that still writes, for somebody who was cancelled, keeps the descriptor until it is done: its number
        could be another file's by then.
        """
        self._lose_file()
        self._window.clear()
        if self._taking is not None and not self._taking.cancel() and not self._taking.cancelled():
            self._taking.exception()  # nobody is left to be told
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._storing is not None:
            self._storing.add_done_callback(lambda _: os.close(fd))
        elif fd >= 0:
            os.close(fd)


class Mirror(Tape):
    """A follower's tape: reads the spool file that another process writes."""

    def __init__(self, path: Path, length: int | None) -> None:
        super().__init__(length)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def advance(self, limit: int) -> None:
        """Take what the leader told."""
        if limit > self.limit:
            self.limit = limit
            self.wake()

    def _region(self, start: int, size: int) -> Region | None:
        return Region(self._fd, start, size)

    def _piece(self, start: int, size: int) -> bytes:
        return os.pread(self._fd, size, start)

    def close(self) -> None:
        """Give up the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
