"""Large pages of a package index, as the simple repository API has them in JSON (PEP 691): each project's own bytes."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

MIB = 1 << 20
INDEX_BYTES = 20 * MIB


def page(project: str, size: int = INDEX_BYTES) -> bytes:
    """Write the page of a project with as many files as make up `size` bytes; the last file goes a little beyond."""
    files: list[str] = []
    length = number = 0
    while length < size:
        one = json.dumps(_file(project, number))
        files.append(one)
        length, number = length + len(one) + 1, number + 1
    head = json.dumps({"meta": {"api-version": "1.0"}, "name": project})
    return f'{head[:-1]}, "files": [{",".join(files)}]}}'.encode()


def _file(project: str, number: int) -> dict[str, object]:
    name = f"{project}-{number // 20}.{number % 20}.0-py3-none-any.whl"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "filename": name,
        "url": f"../../files/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}",
        "hashes": {"sha256": digest},
        "requires-python": ">=3.8",
        "size": 10_000 + number,
        "upload-time": "2024-05-06T07:08:09.000000Z",
        "yanked": False,
    }


def write(folder: Path, project: str) -> None:
    """Put a project's page where the upstream serves it."""
    place = folder / "simple" / project
    place.mkdir(parents=True, exist_ok=True)
    (place / "index.json").write_bytes(_pattern().replace(_ANY.encode(), project.encode()))


@cache
def _pattern() -> bytes:
    """Write one page for all of them: its making takes longer than its rewriting."""
    return page(_ANY)


_ANY = "any-project"
