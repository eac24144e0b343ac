"""Whether a blob's file holds what its digest says; blocks, at a bounded rate, for a thread of its own."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sound:
    """The bytes are right."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no file."""


@dataclass(frozen=True, slots=True)
class Bad:
    """The file at hand is wrong; `identity` tells it from one that takes its place later."""

    why: str
    identity: tuple[int, int, int]


Verdict = Sound | Gone | Bad


class Verifier:
    """Reads at `bytes_per_s` at most (None: as fast as it goes)."""

    def __init__(self, bytes_per_s: float | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bytes_per_s, self._sleep = bytes_per_s, sleep

    def examine(self, path: Path, digest: str, size: int | None) -> Verdict:
        """Compare a file with its digest, and its size where that is known. Raises `OSError` but for absence."""
        try:
            with path.open("rb", buffering=0) as file:
                stat = os.fstat(file.fileno())
                identity = _identity(stat)
                if size is not None and stat.st_size != size:
                    return Bad(f"it has {stat.st_size} bytes instead of {size}", identity)
                found = self._hash(file.fileno())
        except FileNotFoundError:
            return Gone()
        return Sound() if found == digest else Bad(f"its bytes are those of {found}", identity)

    def _hash(self, fd: int) -> str:
        hasher = hashlib.sha256()
        while chunk := os.read(fd, CHUNK_BYTES):
            hasher.update(chunk)
            if self._bytes_per_s is not None:
                self._sleep(len(chunk) / self._bytes_per_s)
        return f"sha256:{hasher.hexdigest()}"


def still(path: Path, verdict: Gone | Bad) -> bool:
    """Whether a verdict holds for what is there now; under the write lock, before acting on it."""
    try:
        identity = _identity(path.stat())
    except FileNotFoundError:
        return isinstance(verdict, Gone)
    return isinstance(verdict, Bad) and identity == verdict.identity


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
