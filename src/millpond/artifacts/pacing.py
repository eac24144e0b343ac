"""How long work goes on beside the serving: in batches, with pauses, and with somebody told how far it is."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
BATCH = 500
"""Rows and files that one write transaction changes at most."""
READ_BATCH = 4000
"""What is looked at only, at a time."""
MAX_PAUSE_S = 0.05

Tell: TypeAlias = Callable[[str, int, int | None], None]
"""Progress: what is being done, how much is done, of how much (None: not known)."""


def silent(_what: str, _done: int, _total: int | None) -> None:
    """Tell nobody."""


async def in_batches(items: Iterator[T], size: int = BATCH) -> AsyncIterator[list[T]]:
    """Read an iterator that does I/O in a thread, `size` at a time."""
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(items, size))):
        yield batch


async def pause(started: float) -> None:
    """Leave the write lock to others for as long as a batch took since `started` (monotonic), within bounds."""
    await asyncio.sleep(min(time.monotonic() - started, MAX_PAUSE_S))
