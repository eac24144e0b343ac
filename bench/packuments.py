"""A large packument of an npm registry, as the largest packages have them (full form): one for every name.

It does not say whose it is, so that the origin can serve it under any number of names, each one cold.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path

MIB = 1 << 20
PACKUMENT_BYTES = 120 * MIB
FILE = "packument.json"


def write(folder: Path, size: int = PACKUMENT_BYTES) -> None:
    """Put it where the origin serves it; a version after the other until there are `size` bytes."""
    place = folder / FILE
    if place.exists():
        return
    with place.open("w") as file:
        written = file.write('{"dist-tags":{"latest":"0.0.1"},"versions":{')
        number = 0
        while written < size:
            version = f"{number // 1000}.{number % 1000}.1"
            written += file.write(f'{"," if number else ""}"{version}":{json.dumps(_manifest(version))}')
            number += 1
        file.write("}}")


def _manifest(version: str) -> dict[str, object]:
    digest = hashlib.sha512(version.encode()).digest()
    requires = {f"package-{n}": f"^{n}.{len(version)}.0" for n in range(40)}
    dist = {
        "integrity": "sha512-" + b64encode(digest).decode(),
        "shasum": hashlib.sha1(digest).hexdigest(),
        "tarball": f"../files/{digest.hex()[:40]}",
        "fileCount": 100,
        "unpackedSize": 1_000_000,
    }
    return {"version": version, "description": "x" * 400, "dependencies": requires, "dist": dist}
