"""The objects that are served: files in one folder, made once for a run, each with bytes of its own.

Their names end in ``.deb`` because one of the peers caches nothing else.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
SMALL, MEDIUM, LARGE = "small.deb", "medium.deb", "large.deb"
SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES = 2 * KIB, 100 * KIB, 100 * MIB
MANY = 1000
MANY_SMALL = tuple(f"many/{number:04}.deb" for number in range(MANY))
COLD_SMALL = tuple(f"cold/{number:04}.deb" for number in range(4 * MANY))
BIG, TEN, GIGABYTE = "big.deb", "ten.deb", "gigabyte.deb"
MANY_MEDIUM = tuple(f"wide/{number:04}.deb" for number in range(MANY))


@dataclass(frozen=True)
class Object:
    """One object: its name, which is its path on every plain server, and its file."""

    name: str
    file: Path

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex."""
        with self.file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.file.stat().st_size


class Objects:
    """The folder of objects; made on demand, so that a run of one load does not write what others need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Object] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Object:
        """Give an object, made of random bytes where it is not there yet."""
        if name not in self._known:
            made = Object(name, self.folder / name)
            _write(made.file, size_of(name))
            self._known[name] = made
        return self._known[name]


def size_of(name: str) -> int:
    """Tell how large an object of the loads is."""
    return _SIZES.get(name) or _SIZES[name.partition("/")[0]]


_RANDOM_BYTES = 256 * MIB
_SIZES = {
    SMALL: SMALL_BYTES,
    MEDIUM: MEDIUM_BYTES,
    LARGE: LARGE_BYTES,
    TEN: 10 * MIB,
    BIG: 200 * MIB,
    GIGABYTE: 1024 * MIB,
    "many": SMALL_BYTES,
    "cold": SMALL_BYTES,
    "wide": MEDIUM_BYTES,
}


def _write(file: Path, size: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        if size > _RANDOM_BYTES:
            opened.truncate(size)  # a hole: as large to everybody who reads it, and no time to make
            return
        for start in range(0, size, MIB):
            opened.write(os.urandom(min(MIB, size - start)))
