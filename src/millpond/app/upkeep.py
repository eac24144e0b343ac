"""The pond's background loops, and the same work on command: collecting, checking, backing up, noting, measuring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog

from millpond.app.core import Core
from millpond.app.room import free_bytes
from millpond.artifacts.collector import Collector, CollectorOptions
from millpond.artifacts.proxy import Proxy
from millpond.errors import Busy
from millpond.leases import Lease

if TYPE_CHECKING:
    from millpond.loops import Loops, Tick

BACKUPS = "backups"
LEASE_S = 120.0
LAG_INTERVAL_S = 0.5
log = structlog.get_logger(__name__)
Progress = Callable[[str, int, int | None], None]


class Upkeep:
    """Upkeep of one open application."""

    def __init__(self, app: Core) -> None:
        self._app = app
        storage = app.config.storage
        self._collector = Collector(
            app.catalog,
            app.usage,
            sweeps=(app.lock.sweep, app.store.sweep),
            options=CollectorOptions(
                max_bytes=storage.max_size,
                high_watermark=storage.high_watermark,
                low_watermark=storage.low_watermark,
                grace_s=storage.collect_grace_s,
                usage_days=app.config.usage.keep_days,
            ),
        )

    def start(self, loops: Loops) -> None:
        """Start what repeats; what must run once in all runs under a lease."""
        config = self._app.config
        loops.every(1.0, self._note, "usage")
        loops.every(LAG_INTERVAL_S, self._measure_lag, "lag")
        loops.every(5.0, self._measure, "metrics", at_once=True)
        loops.every(60.0, self._measure_disk, "disk metrics", at_once=True)
        loops.every(60.0, self._app.retire, "retired upstreams")
        loops.every(config.storage.collect_interval_s, self._once("collect", self._collect), "collect")
        loops.every(config.database.backup_interval_s, self._once("backup", self._backup), "backup")
        if config.storage.max_size is not None:
            loops.every(5.0, self._once("evict", self._evict), "evict")

    async def _note(self) -> None:
        app = self._app
        await app.hits.note()
        await app.usage.flush()
        await app.tokens.flush()
        app.metrics.usage_dropped(app.usage.dropped)
        app.metrics.busy(len(asyncio.all_tasks()))

    def _once(self, name: str, tick: Tick) -> Tick:
        """Run a tick in one worker only."""

        async def run() -> None:
            async with self._lease(name) as mine:
                if mine:
                    await tick()

        return run

    def _lease(self, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """Hold a lease, renewed while the work goes on; None: another worker has it."""
        return self._app.leases.holding(name, f"{self._app.node}/{os.getpid()}", LEASE_S)

    async def collect(self, *, dry_run: bool, progress: Progress) -> dict[str, Any]:
        """Evict what exceeds the limit, then collect what nothing refers to. Raises `Busy` while a loop does it."""
        async with self._lease("collect") as mine:
            if not mine:
                raise Busy("a collection is under way already: try again in a minute")
            evicted = await self._collector.evict(progress, dry_run=dry_run)
            report = await self._collector.gc(dry_run=dry_run, progress=progress)
        return {"evicted": evicted.entries, "evicted_bytes": evicted.bytes} | asdict(report)

    async def check(self, *, repair: bool, progress: Progress) -> dict[str, Any]:
        """Check bytes, catalog and records."""
        report = await self._collector.fsck(repair=repair, progress=progress)
        return asdict(report) | {"ok": report.ok}

    async def _collect(self) -> None:
        await self._collector.gc()
        await asyncio.to_thread(self._app.derived.sweep)

    async def _evict(self) -> None:
        await self._collector.evict()

    async def _backup(self) -> None:
        await self._app.db.backup(self._app.data / BACKUPS, kept=self._app.config.database.backups_kept)

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(0.05)
        self._app.metrics.lagged(max(loop.time() - before - 0.05, 0.0))

    async def _measure_disk(self) -> None:
        """Count the store; it reads every blob's row, so not often."""
        app = self._app
        stored = await app.catalog.stored()
        app.metrics.disk("used", stored.bytes)
        app.metrics.disk("free", free_bytes(app.config.storage_path))
        app.metrics.disk("limit", app.config.storage.max_size or 0)

    async def _measure(self) -> None:
        app = self._app
        app.metrics.flying(len(app.flights))
        for name, repository in app.repositories.items():
            if isinstance(repository, Proxy):
                status = repository.remote.upstream.status()
                app.metrics.upstream(name, str(status["state"]), float(str(status["latency_s"] or 0.0)))
                if "quota_remaining" in status:
                    app.metrics.quota(name, int(str(status["quota_remaining"])))
