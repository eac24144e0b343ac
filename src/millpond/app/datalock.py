"""One process at a time changes a data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from millpond.errors import Busy


class DataLock:
    """The lock of a live data directory; held by the daemon's first process, or by a command without a daemon."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise Busy(f"{data} is in use by another process: stop it, or choose another --data") from error

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)
