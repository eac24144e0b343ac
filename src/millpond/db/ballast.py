"""A file that is given back when the disk is full, so that the database can go on (a delete needs room, too).

It is recreated when there is plenty again. Several processes may share it: giving back and recreating are single file
operations, and whoever comes second finds nothing to do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from millpond.clock import Clock

PLENTY = 4
"""It is recreated when there is this many times its size."""
RECHECK_S = 10.0


class Ballast:
    """The ballast file at `path`, `size_bytes` long (0: none)."""

    def __init__(self, path: Path, size_bytes: int, clock: Clock) -> None:
        self._path, self._size_bytes, self._clock = path, size_bytes, clock
        self._check_at = 0.0

    def release(self) -> bool:
        """Give the room back; False: somebody did already."""
        self._check_at = self._clock.monotonic() + RECHECK_S
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def ensure(self) -> None:
        """Recreate the file when it is gone and there is plenty of room; cheap to call often."""
        now = self._clock.monotonic()
        if now < self._check_at or self._size_bytes == 0:
            return
        self._check_at = now + RECHECK_S
        if not self._path.exists() and shutil.disk_usage(self._path.parent).free >= PLENTY * self._size_bytes:
            with contextlib.suppress(OSError):
                self._create()

    def _create(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size_bytes)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
