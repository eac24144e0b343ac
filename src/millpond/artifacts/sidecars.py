"""The record beside each upload: what `fsck --repair` restores local repositories from when the catalog is lost.

``local/{sha256 of repository}/{sha256 of path}.json`` under the storage's root. A record is written and synced before
its row is committed, under the name it will have with ``.new`` behind it, and takes the old one's place after the
commit. So at every moment the file without ``.new`` is of a committed upload; after a crash in between, the catalog
(or, without one, the blob's presence) tells what the ``.new`` one is.

The file ``catalog-id`` names the catalog that knows everything here. A new or restored one has another id, and must not
take what it doesn't know for rubbish: `fsck --repair` brings it up to date, and only then claims the storage for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from millpond.artifacts.model import Digest, Entry

SUFFIX = ".json"
PENDING = ".new"


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of an upload; `stored_at` in epoch seconds, `size` in bytes."""

    repository: str
    path: str
    variant: str
    digest: Digest
    size: int
    content_type: str
    stored_at: float
    uploaded_by: str

    def entry(self) -> Entry:
        """Give the catalog entry that this record stands for."""
        at = self.stored_at
        return Entry(
            repository=self.repository, path=self.path, variant=self.variant, status=200, digest=self.digest,
            size=self.size, content_type=self.content_type, content_encoding="", etag="", last_modified="",
            source_url="", stored_at=at, validated_at=at, checked_at=at, fresh_until=at,
        )  # fmt: skip


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "repository": str,
    "path": str,
    "variant": str,
    "digest": str,
    "size": int,
    "content_type": str,
    "stored_at": (int, float),
    "uploaded_by": str,
}


def record_of(entry: Entry, uploaded_by: str) -> Record:
    """Give the record of an upload's entry. Raises `ValueError` for a negative one."""
    if entry.digest is None:
        raise ValueError("an upload has a digest")
    return Record(
        entry.repository, entry.path, entry.variant, entry.digest, entry.size, entry.content_type, entry.stored_at,
        uploaded_by,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A record file: its record (None: it can't be read), and whether its commit is not known to have happened."""

    file: Path
    record: Record | None
    pending: bool


class Sidecars:
    """The records under a storage's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = root / "local"
        self._owner = root / "catalog-id"

    def prepare(self, record: Record) -> None:
        """Write a record that is about to be committed, synced. Raises `OSError`."""
        file = self._file(record.repository, record.path, record.variant)
        new_folder = not file.parent.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(_pending(file), json.dumps(asdict(record), ensure_ascii=True).encode())
        if new_folder:
            _sync(self._root)
            _sync(self._root.parent)

    def settle(self, repository: str, path: str, variant: str) -> None:
        """Let the prepared record take the old one's place: its commit has happened.

        No matter if a collection or a check beside us has seen the commit first, and done it.
        """
        file = self._file(repository, path, variant)
        try:
            _pending(file).replace(file)
        except FileNotFoundError:
            if not file.exists():
                raise
        _sync(file.parent)

    def write(self, record: Record) -> None:
        """Write the record of an upload that is in the catalog already."""
        self.prepare(record)
        self.settle(record.repository, record.path, record.variant)

    def remove(self, repository: str, path: str, variant: str) -> None:
        """Remove a record, pending or not; no matter if there is none."""
        file = self._file(repository, path, variant)
        for name in (_pending(file), file):
            name.unlink(missing_ok=True)
        if file.parent.exists():
            _sync(file.parent)

    def read(self, repository: str, path: str, variant: str) -> Record | None:
        """Read the record of a committed upload; None: there is none that can be read."""
        file = self._file(repository, path, variant)
        return _read(file)

    def walk(self) -> Iterator[Found]:
        """List all record files, a pending one before the one it would replace."""
        folders = sorted(self._root.iterdir()) if self._root.exists() else []
        for folder in folders:
            if not folder.is_dir():
                continue
            for file in sorted(folder.iterdir(), reverse=True):  # "x.json.new" comes before "x.json"
                if file.name.endswith((SUFFIX, SUFFIX + PENDING)):
                    yield Found(file, _read(file), file.name.endswith(PENDING))

    def owner(self) -> str | None:
        """Give the id of the catalog that knows everything in this storage; None: not said yet."""
        try:
            return self._owner.read_text().strip()
        except FileNotFoundError:
            return None

    def claim(self, catalog_id: str) -> None:
        """Say which catalog knows everything in this storage."""
        self._owner.parent.mkdir(parents=True, exist_ok=True)
        _write(self._owner, catalog_id.encode() + b"\n")

    def _file(self, repository: str, path: str, variant: str) -> Path:
        key = f"{path}\n{variant}" if variant else path
        return self._root / _hash(repository) / (_hash(key) + SUFFIX)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pending(file: Path) -> Path:
    return file.with_name(file.name + PENDING)


def _read(file: Path) -> Record | None:
    try:
        found = json.loads(file.read_bytes())
        sound = found.keys() == _TYPES.keys() and all(isinstance(found[name], _TYPES[name]) for name in found)
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    return Record(**found) if sound else None


def _write(file: Path, content: bytes) -> None:
    """Write a file whole, synced, with its name; what was there before stays until then."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(file.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
