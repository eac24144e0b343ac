"""`ports.Invalidation` for the processes of one machine: a shared map of 4,096 stamps, chosen by the key's hash.

A stamp is a random number, not a count: two processes that touch one key at once could make a count go back, and what
was remembered under an old count would be believed again. Keys that share a stamp cost each other a look-up, no more.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path

STAMPS = 4096
_WIDTH = 8


class MappedStamps:
    """The map in the file `path`, which is created; `close` it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Written out, not left sparse: a full disk must not turn a touch into a bus error.
            os.posix_fallocate(fd, 0, STAMPS * _WIDTH)
            self._map = mmap.mmap(fd, STAMPS * _WIDTH)
        finally:
            os.close(fd)
        self.stamps = memoryview(self._map).cast("Q")

    def slot(self, key: str) -> int:
        """Give the key's place among the stamps."""
        return zlib.crc32(key.encode("utf-8", "surrogatepass")) % STAMPS

    def stamp(self, key: str) -> int:
        """Read the key's stamp: take it before reading what it guards, and compare later."""
        return self.stamps[self.slot(key)]

    def touch(self, key: str) -> None:
        """Change the key's stamp, after the change is committed."""
        self.stamps[self.slot(key)] = _fresh()

    def touch_all(self) -> None:
        """Change every stamp."""
        self.stamps[:] = memoryview(os.urandom(STAMPS * _WIDTH)).cast("Q")

    def close(self) -> None:
        """Let go of the map."""
        self.stamps.release()
        self._map.close()


def _fresh() -> int:
    return int.from_bytes(os.urandom(_WIDTH), "little")
