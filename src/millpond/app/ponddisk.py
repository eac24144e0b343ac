"""The disk that the pond itself is on: measured, and made room on by the collector."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from millpond.app.core import Core
from millpond.app.upkeep import Upkeep
from millpond.hosts.model import Filled, Room


class PondDisk:
    """The pond's own data, as the watchdog sees it."""

    def __init__(self, app: Core, upkeep: Upkeep) -> None:
        self._app, self._upkeep = app, upkeep

    async def measure(self) -> Room:
        """Measure the fuller one of the disks of data and storage."""
        places = (self._app.data, self._app.config.storage_path)
        rooms = [await asyncio.to_thread(_room, place) for place in places]
        return max(rooms, key=lambda room: room.bytes.percent)

    async def collect(self, *, dry_run: bool) -> int:
        """Evict and collect; gives the bytes."""
        report = await self._upkeep.collect(dry_run=dry_run, progress=lambda *_: None)
        return int(report["evicted_bytes"]) + int(report["freed_bytes"])


def _room(place: Path) -> Room:
    stat = os.statvfs(place)
    used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    size = Filled(stat.f_blocks * stat.f_frsize, used, stat.f_bavail * stat.f_frsize)
    if stat.f_files == 0:
        return Room(size)
    return Room(size, Filled(stat.f_files, stat.f_files - stat.f_ffree, stat.f_favail))
