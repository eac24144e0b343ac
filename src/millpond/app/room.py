"""How much may still be stored: asked for each fetch, so measured at most once a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

_REMEMBERED_S = 1.0


class Room:
    """The free space of the spool's and the store's disks, less what is to be kept free."""

    def __init__(self, spool: Path, storage: Path, keep_free_bytes: int) -> None:
        self._places = (spool, storage)
        self._keep_free_bytes = keep_free_bytes
        self._known = 0
        self._until = 0.0

    def bytes(self) -> int:
        """Give the bytes that may still be stored; 0: none."""
        now = time.monotonic()
        if now >= self._until:
            self._known = max(min(map(free_bytes, self._places)) - self._keep_free_bytes, 0)
            self._until = now + _REMEMBERED_S
        return self._known


def free_bytes(place: Path) -> int:
    """Give the free bytes of a place's disk, as far as this user may use them."""
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize
