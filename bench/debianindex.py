"""A large index of a Debian archive: one for every suite, plain, so that its bytes are what the parser reads.

The origin serves it under any suite's name, each one cold, and a small file for every package below ``pool/``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

MIB = 1 << 20
INDEX_BYTES = 60 * MIB
FILE, PACKAGE = "Packages", "package.deb"


def write(folder: Path, size: int = INDEX_BYTES) -> None:
    """Put both where the origin serves them; a stanza after the other until there are `size` bytes."""
    place = folder / FILE
    if place.exists():
        return
    (folder / PACKAGE).write_bytes(b"!<arch>\n" + bytes(1000))
    with place.open("w") as file:
        written = number = 0
        while written < size:
            written += file.write(_stanza(number))
            number += 1


def _stanza(number: int) -> str:
    name = f"bench-{number}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return (
        f"Package: {name}\nVersion: {number}.0-1\nInstalled-Size: 100\nMaintainer: Somebody <one@archive.example>\n"
        f"Architecture: amd64\nDepends: {', '.join(f'bench-{number + n} (>= 1.0)' for n in range(12))}\n"
        f"Description: {'x' * 60}\nDescription-md5: {digest[:32]}\nSection: misc\nPriority: optional\n"
        f"Filename: pool/main/b/{name}/{name}_{number}.0-1_amd64.deb\nSize: 1000\nMD5sum: {digest[:32]}\n"
        f"SHA256: {digest}\n\n"
    )
