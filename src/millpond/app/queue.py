"""``GET /queue``: a block for each part that works in the background, filled by that part.

A part that is switched off says so and keeps its keys; one that can't tell its status never breaks the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog

from millpond.app.application import App
from millpond.app.queueblocks import Blocks

T = TypeVar("T")
Block = Callable[[], Awaitable[Mapping[str, object]]]
log = structlog.get_logger(__name__)


async def queue(app: App) -> dict[str, Any]:
    """Give the page."""
    of = Blocks(app.delivering)
    blocks: dict[str, Block] = {
        "counts": of.counts,
        "resilience": of.resilience,
        "reconcile": of.reconcile,
        "reaper": of.reaper,
        "post_deploy": of.post_deploy,
        "merge_verify": of.merge_verify,
        "task_deps": of.task_deps,
        "serial_gate": of.serial_gate,
        "auto_labels": of.auto_labels,
        "worker": of.worker,
        "outbox": of.outbox,
        "looks": of.looks,
        "upkeep": of.upkeep,
        "metrics": of.metrics,
        "disk_monitor": app.hosting.disk_monitor,
        "build_cache_prune": app.hosting.build_cache_prune,
    }
    options = app.delivering.options
    numbers = {"max_concurrency": options.max_concurrency, "poll_interval": options.poll_interval_s}
    told = {name: await _told(name, block, _broken) for name, block in blocks.items()}
    return {**told, **numbers, "recent": await _told("recent", of.recent, lambda _: [])}


async def _told(name: str, block: Callable[[], Awaitable[T]], otherwise: Callable[[Exception], T]) -> T:
    try:
        return await block()
    except Exception as error:
        log.exception("a part could not tell its status", part=name)
        return otherwise(error)


def _broken(error: Exception) -> Mapping[str, object]:
    return {"enabled": None, "last_error": f"its status can't be told: {error}"}
