"""The logs of jobs' runs: a piece of one, as it grows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from millpond.app.core import Core
from millpond.app.working import RUNS
from millpond.delivery.model import Job
from millpond.delivery.runs.wrapper import LOG

PIECE = 65536


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a log. `next`: the byte to read on from; `more`: there is more at once."""

    text: str
    next: int
    more: bool


async def read_log(app: Core, job: Job, offset: int) -> Piece | None:
    """Read a piece of a job's log; None: it has none, on this node at least."""
    return await asyncio.to_thread(_read, app.data / RUNS, job, max(offset, 0))


def _read(root: Path, job: Job, offset: int) -> Piece | None:
    file = root / f"job-{job.id}" / LOG
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            data = opened.read(PIECE)
    except OSError:
        return None
    cut = _whole(data)
    return Piece(data[:cut].decode("utf-8", "replace"), offset + cut, len(data) == PIECE)


def _whole(data: bytes) -> int:
    """Give where the last whole character ends, so that none is torn between two pieces."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            continue
        need = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1  # noqa: PLR2004 - its first bytes
        return len(data) - back if need > back else len(data)
    return len(data)
