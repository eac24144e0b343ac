"""``millpond host ...``: what commands and the control API do with hosts. One that fails is a row that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Any

from millpond.app.hosted import Hosted
from millpond.app.hosting import Hosting
from millpond.app.operating import Operation, Progress
from millpond.errors import MillpondError
from millpond.hosts import disk, prune
from millpond.hosts.checking import check
from millpond.hosts.commands import brief
from millpond.hosts.model import HostFailed, HostOptions, Run
from millpond.hosts.places import PondPlace
from millpond.hosts.together import together

AT_ONCE = 8
"""Hosts that a command works on at a time."""


class HostOperations:
    """The operations on the hosts of one open application."""

    def __init__(self, app: Hosted) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        return {name: getattr(self, name) for name in ("host_ls", "host_check", "host_prune", "host_disk")}

    async def host_ls(self, progress: Progress) -> list[dict[str, Any]]:
        """List the hosts with what was last seen of them; no host is asked."""
        del progress
        hosting = self._app.hosting
        pruned = await hosting.runs.all(prune.TASK, hosting.options)
        watched = await hosting.runs.all(disk.TASK, hosting.options)
        return [
            _row(options, pruned.get(name, Run()), watched.get(name, Run()))
            for name, options in hosting.options.items()
        ]

    async def host_check(self, progress: Progress, name: str) -> dict[str, Any]:
        """Look at what a host needs, one by one. Raises `NotFound`."""
        progress(f"looking at {name}", 0, None)
        async with self._app.hosting.used() as hosting:
            watched = hosting.watched(name)
            found = await check(watched.host, watched.options)
        return {"host": name, "ok": all(one.ok for one in found), "checks": [asdict(one) for one in found]}

    async def host_prune(self, progress: Progress, name: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Prune the build cache now, of one host or of all: also where the loop is switched off, or not due.

        Raises `NotFound`.
        """
        async with self._app.hosting.used() as hosting:
            return await self._prune(hosting, progress, name, dry_run=dry_run)

    @staticmethod
    async def _prune(hosting: Hosting, progress: Progress, name: str | None, *, dry_run: bool) -> dict[str, Any]:
        async def one(host: str) -> dict[str, Any]:
            if dry_run:
                return {"host": host, "error": None, **await hosting.pruner(host).plan()}
            run = await hosting.pruner(host).prune()
            return {"host": host, "error": run.error or None, **run.told, "skipped": run.told.get("skipped")}

        names = list(hosting.options) if name is None else [hosting.watched(name).options.name]
        rows = await _each(names, one, progress, "pruning")
        return {"dry_run": dry_run, "ok": not any(row["error"] for row in rows), "hosts": rows}

    async def host_disk(self, progress: Progress, name: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Look at the disks (of one host, of ``pond``, or of all), and make room where one is above its mark.

        Raises `NotFound`.
        """
        async with self._app.hosting.used() as hosting:
            return await self._disk(hosting, progress, name, dry_run=dry_run)

    @staticmethod
    async def _disk(hosting: Hosting, progress: Progress, name: str | None, *, dry_run: bool) -> dict[str, Any]:
        async def one(place: str) -> dict[str, Any]:
            if dry_run:
                return {"name": place, "error": None, **await hosting.watchdog(place).plan()}
            run = await hosting.watchdog(place).look()
            return {"name": place, "error": run.error or None, **run.told}

        if name is not None and name != PondPlace.name:
            hosting.watched(name)
        names = [*hosting.options, PondPlace.name] if name is None else [name]
        rows = await _each(names, one, progress, "measuring")
        return {"dry_run": dry_run, "ok": not any(row["error"] for row in rows), "places": rows}


def _row(options: HostOptions, pruned: Run, watched: Run) -> dict[str, Any]:
    return {
        "name": options.name,
        "ssh": str(options.address),
        "labels": list(options.labels),
        "docker_host": options.docker_host,
        "last_error": watched.error or pruned.error or None,
        "last_seen_ts": watched.ran_at if not watched.error else None,
        "bytes_percent": watched.told.get("bytes_percent"),
        "inodes_percent": watched.told.get("inodes_percent"),
        "build_cache_prune": prune.status_of(options.prune, pruned),
        "disk_monitor": disk.status_of(options.disk, watched),
    }


async def _each(
    names: Iterable[str], work: Callable[[str], Awaitable[dict[str, Any]]], progress: Progress, what: str
) -> list[dict[str, Any]]:
    """Do the work for each, some at a time, in order; a host that fails is a row with its error."""
    names = list(names)
    turn, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(name: str) -> dict[str, Any]:
        nonlocal done
        async with turn:
            try:
                row = await work(name)
            except (MillpondError, OSError) as error:
                told = error.told if isinstance(error, HostFailed) else brief(str(error))
                row = {"host": name, "name": name, "error": told}
        done += 1
        progress(f"{what} {name}", done, len(names))
        return row

    return await together(one(name) for name in names)
