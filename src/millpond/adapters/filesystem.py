"""`ports.BlobStore` in a folder: plain files named by their digest, so that no name of a client ever becomes a path.

``blobs/sha256/ab/abcdef...``; a blob appears by one rename of a finished file on the same file system. A spool file on
another file system is copied to ``blobs/staged`` first.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from millpond.artifacts.model import Digest
from millpond.artifacts.ports import Descriptor

MODE = 0o640
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


class FilesystemStore:
    """Blobs under `root`, which is created."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._staged = root / "blobs" / "staged"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._staged.mkdir(exist_ok=True)
        self._device = self._staged.stat().st_dev

    def path(self, digest: Digest) -> Path:
        """Where the blob's file is (or would be). Raises `ValueError` for a malformed digest."""
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise ValueError(f"{digest!r} is no sha256 digest")
        return self._blobs / found[1][:2] / found[1]

    def stat(self, digest: Digest) -> Descriptor | None:
        """Describe a stored blob; None: not here."""
        try:
            return _described(digest, self.path(digest).stat())
        except FileNotFoundError:
            return None

    async def stage(self, spool: Path, *, durable: bool = False) -> Path:
        """Do what takes long of `place`: bring the file to the blobs' file system; `durable`: sync its bytes.

        Gives the file to `place`: the spool file itself, or a copy of it. Raises `OSError`.
        """
        if not durable and self._at_hand(spool):
            return spool
        return await asyncio.to_thread(self._stage, spool, durable=durable)

    def _at_hand(self, spool: Path) -> bool:
        return spool.stat().st_dev == self._device

    def _stage(self, spool: Path, *, durable: bool) -> Path:
        ready = spool
        if not self._at_hand(spool):
            ready = self._staged / uuid.uuid4().hex
            try:
                shutil.copyfile(spool, ready)
            except BaseException:
                ready.unlink(missing_ok=True)
                raise
        if durable:
            _sync(ready)
        return ready

    def place(self, spool: Path, digest: Digest, *, durable: bool = False) -> None:
        """Move a finished file in, over a blob that may be there. `durable`: file and directory are synced.

        Raises `OSError`; the blob is then as it was before.
        """
        target = self.path(digest)
        ready = self._stage(spool, durable=durable)
        ready.chmod(MODE)
        new_folder = False
        try:
            ready.replace(target)
        except FileNotFoundError:
            new_folder = not target.parent.exists()
            target.parent.mkdir(exist_ok=True)
            ready.replace(target)
        if durable:
            _sync(target.parent)
            if new_folder:
                _sync(self._blobs)
        if ready is not spool:
            spool.unlink(missing_ok=True)

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; False: was not there. Readers that have it open keep it."""
        try:
            self.path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def walk(self) -> Iterator[Digest]:
        """List every blob's name, in order; holds one of 256 folders in memory."""
        for number in range(256):
            yield from self._folder(self._blobs / f"{number:02x}")

    @staticmethod
    def _folder(folder: Path) -> list[Digest]:
        try:
            with os.scandir(folder) as found:
                return sorted(
                    f"sha256:{entry.name}"
                    for entry in found
                    if entry.name.startswith(folder.name)
                    and _HEX.fullmatch(entry.name)
                    and entry.is_file(follow_symlinks=False)  # the folder tells; nothing is looked at
                )
        except FileNotFoundError:
            return []

    def sweep(self, older_than_s: float, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove copies that a crash left behind; gives their number and bytes."""
        removed = freed = 0
        limit = time.time() - older_than_s
        for copy in self._staged.iterdir():
            try:
                stat = copy.stat()
                if stat.st_mtime > limit:
                    continue
                if not dry_run:
                    copy.unlink()
            except FileNotFoundError:
                continue
            removed, freed = removed + 1, freed + stat.st_size
        return removed, freed


def _described(digest: Digest, stat: os.stat_result) -> Descriptor:
    # A rename renews the change time but not the modification time: the later one is when it came.
    return Descriptor(digest, stat.st_size, max(stat.st_mtime, stat.st_ctime))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
