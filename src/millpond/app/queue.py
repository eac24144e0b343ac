"""``GET /queue``: a block for each part that works in the background, filled by that part.

A part that is switched off says so and keeps its keys; one that can't tell its status never breaks the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from millpond.app.application import App

Block = Callable[[], Awaitable[Mapping[str, object]]]
log = structlog.get_logger(__name__)


async def queue(app: App) -> dict[str, Any]:
    """Give the page."""
    blocks: dict[str, Block] = {
        "disk_monitor": app.hosting.disk_monitor,
        "build_cache_prune": app.hosting.build_cache_prune,
    }
    return {name: await _told(name, block) for name, block in blocks.items()}


async def _told(name: str, block: Block) -> Mapping[str, object]:
    try:
        return await block()
    except Exception as error:
        log.exception("a part could not tell its status", part=name)
        return {"enabled": None, "last_error": f"its status can't be told: {error}"}
