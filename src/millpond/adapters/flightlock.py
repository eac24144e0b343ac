"""One flight for a key across the worker processes of one machine: `flock` for the seat, a small file for its progress.

A flight is a small file named by the hash of its key. Its leader holds an exclusive `flock` on it, which the kernel
drops when the process dies, however it dies; followers read a few numbers from it. Nothing here blocks: every lock is
tried, never awaited.

Layout (little endian): phase u32, head length u32, written u64, head. The head is complete before `phase` says so. The
file is written in full when the seat is taken, so that later writes need no room. When there is no room for it, the
leader keeps the seat and tells nothing: `_MUTE` bytes long, the file says that it is UNSHARED.

It is written, neither allocated nor mapped: what lives for milliseconds never reaches the disk then, and removing it
costs a twentieth (1 to 2 ms in the event loop for each small download, on ext4).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from pathlib import Path

from millpond.artifacts.ports import FAILED, LANDED, PREPARING, STREAMING, UNSHARED, Progress

_FIELDS = struct.Struct("<IIQ")
_PHASE = struct.Struct("<I")
_WRITTEN = struct.Struct("<Q")
_NOTHING = bytes(16 * 1024)
_SIZE = len(_NOTHING)
_MUTE = 1
_WRITTEN_AT = 8
_FINAL = (LANDED, FAILED, UNSHARED)
SUFFIX = ".flight"


class FileFlightLock:
    """`ports.FlightLock` in a folder that all workers share; spool files lie beside the flight files."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        spool.mkdir(parents=True, exist_ok=True)

    def lead(self, key: str) -> FileSeat | None:
        """Take the seat; None: another process has it. Raises `OSError` when the folder can't be written."""
        path = self._path(key)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            if _same_file(fd, path):
                if os.fstat(fd).st_size == 0:
                    return FileSeat(path, fd)
                path.unlink()  # a dead leader's: left to those who still read it, never written again
            os.close(fd)

    def follow(self, key: str) -> FileWatch | None:
        """Watch the flight that another process leads; None: nobody leads it."""
        try:
            fd = os.open(self._path(key), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        size = os.fstat(fd).st_size
        if _free(fd) or size not in {_MUTE, _SIZE}:
            os.close(fd)
            return None
        return FileWatch(fd)

    def sweep(self, older_than_s: float, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove what dead flights left: files that nobody leads, older than `older_than_s`.

        Gives the number of files and their bytes.
        """
        limit = time.time() - older_than_s
        removed = freed = 0
        for path in self.spool.iterdir():
            try:
                size = self._remove_dead(path, limit, dry_run=dry_run)
            except FileNotFoundError:
                continue
            if size is not None:
                removed, freed = removed + 1, freed + size
        return removed, freed

    def _remove_dead(self, path: Path, limit: float, *, dry_run: bool) -> int | None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            stat = os.fstat(fd)
            if stat.st_mtime > limit or not _free(fd, exclusive=True):
                return None
            if not dry_run:
                path.unlink()
            return stat.st_size
        finally:
            os.close(fd)

    def _path(self, key: str) -> Path:
        return self.spool / (hashlib.sha256(key.encode()).hexdigest() + SUFFIX)


class FileSeat:
    """`ports.Seat`: holds the lock until `leave`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd, self._mute = path, fd, False
        self._write(_NOTHING, 0)

    def announce(self, head: bytes) -> None:
        """Tell the head, then that the body streams."""
        if len(head) > _SIZE - _FIELDS.size:
            raise ValueError(f"a flight's head of {len(head)} bytes is too large")
        self._write(_FIELDS.pack(PREPARING, len(head), 0) + head, 0)
        self._write(_PHASE.pack(STREAMING), 0)

    def progress(self, written: int) -> None:
        """Tell how many bytes may be read."""
        self._write(_WRITTEN.pack(written), _WRITTEN_AT)

    def unshare(self) -> None:
        """Tell the followers that they need a flight of their own."""
        self._write(_PHASE.pack(UNSHARED), 0)

    def leave(self, phase: int) -> None:
        """Tell the end, remove the file, let go of the lock: in this order, so that no follower misses the end."""
        if self._fd < 0:
            return
        self._write(_PHASE.pack(phase), 0)
        self._path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1

    def _write(self, data: bytes, at: int) -> None:
        """Write in full; when that fails nothing more is told, and the file says so."""
        if self._fd < 0 or self._mute:
            return
        try:
            done = os.pwrite(self._fd, data, at)
        except OSError:
            done = 0
        if done < len(data):
            self._mute = True
            os.ftruncate(self._fd, _MUTE)


class FileWatch:
    """`ports.Watch`: reads a flight of another process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def look(self) -> Progress:
        """Read how far it is."""
        told = self._read()
        while (again := self._read()) != told:  # it was being written at that moment
            told = again
        if len(told) < _FIELDS.size:
            return Progress(UNSHARED, 0, b"")
        phase, length, written = _FIELDS.unpack_from(told)
        head = os.pread(self._fd, length, _FIELDS.size) if phase != PREPARING else b""
        return Progress(phase, written, head) if len(head) in {0, length} else Progress(UNSHARED, 0, b"")

    def _read(self) -> bytes:
        return os.pread(self._fd, _FIELDS.size, 0)

    def abandoned(self) -> bool:
        """Whether nobody holds the seat; the phase is then the last that the leader told."""
        return _free(self._fd) and self.look().phase not in _FINAL

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


def _free(fd: int, *, exclusive: bool = False) -> bool:
    """Whether nobody leads; a shared lock is tried and dropped at once."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
