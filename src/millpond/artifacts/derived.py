"""Documents made from a stored blob, kept as plain files: rewritten pages, and lists of an index's members.

A document is named by the hash of everything that it depends on, so any process can make it, none needs to be told, and
a lost one is made again. Blobs of up to `INLINE_BYTES` are worked on at once, larger ones in the process pool. No large
document is ever parsed in this process: a list of members is searched where it lies.

The files are not synced. They lie in a folder named after the boot of the machine, so that one that a power failure
left torn is never served.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from millpond.artifacts.compute import Compute
from millpond.artifacts.deriving import (
    PARTIAL,
    changed_members,
    find_member,
    read_dates,
    read_media_type,
    write_dates,
    write_members,
    write_rewritten,
)
from millpond.artifacts.formats.base import Coherent, Described, Format, Rewrites, Typed
from millpond.artifacts.generations import Dates
from millpond.artifacts.model import Digest, Links, Member, Target
from millpond.artifacts.ports import BlobStore
from millpond.clock import Clock, SystemClock

INLINE_BYTES = 64 * 1024
MAX_KNOWN = 4096
RECHECK_S = 1.0
"""A document that was looked at within this time is taken to be there still."""
TOUCH_S = 60.0
"""How exactly a file's modification time tells when it was last used."""
GRACE_S = 120.0
"""What was used within this time is spared by `sweep`, unless there is twice as much as there may be."""
PARTIAL_S = 3600.0
LOW_WATERMARK = 0.9
ATTEMPTS = 3
_MEMBERS_VERSION = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class UnsoundDocument(ValueError):
    """The blob is not the document that it was taken for."""


@dataclass(frozen=True, slots=True)
class Document:
    """A derived document: its file, its size in bytes, and an entity tag (quoted) that names what it was made from."""

    path: Path
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """An index as its list of members depends on it; `source` is its URL."""

    format_name: str
    target: Target
    content_type: str
    digest: Digest
    source: str


@dataclass(frozen=True, slots=True)
class _Use:
    path: Path
    size: int
    used_at: float


class Derived:
    """The derived documents in `directory`, at most about `max_bytes` of them, as one process sees them."""

    def __init__(
        self,
        directory: Path,
        store: BlobStore,
        compute: Compute,
        formats: Mapping[str, Format],
        max_bytes: int,
        clock: Clock | None = None,
    ) -> None:
        self._directory, self._store, self._compute, self._formats = directory, store, compute, formats
        self._max_bytes, self._clock = max_bytes, clock or SystemClock()
        self._root = directory / _boot()
        self._making: dict[Path, asyncio.Task[None]] = {}
        self._lock = threading.Lock()  # `sweep` may run in a thread
        self._known: OrderedDict[Path, tuple[int, float]] = OrderedDict()
        self._unsound: OrderedDict[Path, str] = OrderedDict()
        self._made_bytes = 0
        self._sweeping: asyncio.Future[Any] | None = None

    async def rewritten(
        self,
        format_name: str,
        target: Target,
        content_type: str,
        digest: Digest,
        links: Links,
        *,
        blob: Path | None = None,
    ) -> Document:
        """Give a blob as it reads with its links rewritten; `blob`: where its bytes lie, if not in the store yet.

        Raises `UnsoundDocument`, `FileNotFoundError` when the blob is gone, `OSError` (`ComputeFailed`) when it can't
        be made now.
        """
        format_ = self._formats[format_name]
        if not isinstance(format_, Rewrites):
            raise TypeError(f"the format {format_name!r} rewrites nothing")
        parts = (format_.rewrite_version, format_name, target, content_type, links.mount, links.source)
        key = _key("rewritten", digest, *parts)
        path = self._path(digest, key)
        write = partial(write_rewritten, format_, target, content_type)
        for _ in range(ATTEMPTS):
            await self._made(path, write, blob or self._store.path(digest), links)
            size = self._seen(path)
            if size is not None:
                return Document(path, size, f'"{key}"')
        raise self._swept()

    async def member(
        self, format_name: str, target: Target, content_type: str, digest: Digest, source: str, name: str
    ) -> Member | None:
        """Look a member up in the index whose bytes are a blob and whose URL is `source`; None: it lists no such one.

        Raises as `rewritten` does.
        """
        document = Listing(format_name, target, content_type, digest, source)
        for _ in range(ATTEMPTS):
            path = await self.listed(document)
            try:
                return find_member(path, name)
            except FileNotFoundError:  # swept by another process since it was last looked at
                self._forget(path)
        raise self._swept()

    async def listed(self, document: Listing, *, blob: Path | None = None) -> Path:
        """Have an index's members listed; gives the file. `blob`: where its bytes lie, if not in the store yet.

        Raises as `rewritten` does.
        """
        format_ = self._formats[document.format_name]
        if not isinstance(format_, Described):
            raise TypeError(f"the format {document.format_name!r} lists no members")
        version = getattr(format_, "rewrite_version", 0)
        parts = (version, document.format_name, document.target, document.content_type, document.source)
        path = self._path(document.digest, _key("members", document.digest, _MEMBERS_VERSION, *parts))
        write = partial(write_members, format_, document.target, document.content_type)
        blob = blob or self._store.path(document.digest)
        await self._made(path, write, blob, document.source, apart=document.target.packed)
        return path

    async def changed(self, old: Listing, new: Listing, limit: int, *, blob: Path | None = None) -> list[str] | None:
        """Name the members that two indexes list differently; None: more than `limit`. `blob`: the new one's bytes.

        Raises as `rewritten` does.
        """
        before, after = await self.listed(old), await self.listed(new, blob=blob)
        if _is_small(before) and _is_small(after):
            return changed_members(before, after, limit)
        return await self._compute.run(changed_members, before, after, limit)

    async def dates(self, format_name: str, target: Target, digest: Digest) -> Dates:
        """Say what an entry file tells of its own time. Raises as `rewritten` does."""
        format_ = self._formats[format_name]
        if not isinstance(format_, Coherent):
            raise TypeError(f"the format {format_name!r} has no entry files")
        path = self._path(digest, _key("dates", digest, _MEMBERS_VERSION, format_name, target))
        for _ in range(ATTEMPTS):
            await self._made(path, partial(write_dates, format_, target), self._store.path(digest))
            try:
                return read_dates(path)
            except FileNotFoundError:
                self._forget(path)
        raise self._swept()

    async def media_type(self, format_name: str, target: Target, told: str, blob: Path) -> str:
        """Say what a large document is by its own word; `told` came with it. Raises `ValueError`, `OSError`."""
        format_ = self._formats[format_name]
        if not isinstance(format_, Typed):
            raise TypeError(f"the documents of the format {format_name!r} do not tell their type")
        return await self._compute.run(read_media_type, format_, target, told, blob)

    def _swept(self) -> OSError:
        return OSError(
            f"derived documents are removed as fast as they are made: more than {self._max_bytes} bytes are in use"
        )

    def forget(self) -> None:
        """Forget what is known to be there; the next use of each document looks."""
        with self._lock:
            self._known.clear()

    def drop(self, digest: Digest) -> int:
        """Remove every document made from a blob; gives their number. Readers that have one open keep it."""
        stem = digest.removeprefix("sha256:")
        gone = list((self._root / stem[:2]).glob(f"{stem}-*"))
        for path in gone:
            self._remove(path)
        return len(gone)

    def sweep(self, max_bytes: int | None = None) -> tuple[int, int]:
        """Remove the documents used longest ago until what is left fits; gives the number and bytes removed.

        Blocks on the disk, and may run in a thread. Readers that have a document open keep it.
        """
        limit = self._max_bytes if max_bytes is None else max_bytes
        self._clear_other_boots()
        uses = sorted(self._uses(), key=lambda use: use.used_at)
        total = sum(use.size for use in uses)
        spared_after = self._clock.now() - GRACE_S if total <= 2 * limit else float("inf")
        count = freed = 0
        for use in uses:
            left = total - freed
            if total <= limit or left <= limit * LOW_WATERMARK or use.used_at > spared_after:
                break
            self._remove(use.path)
            count, freed = count + 1, freed + use.size
        return count, freed

    # Making, once for each document in this process.

    async def _made(self, path: Path, write: Callable[..., None], blob: Path, *more: Any, apart: bool = False) -> None:
        if self._seen(path) is not None:
            return
        if path in self._unsound:
            raise UnsoundDocument(self._unsound[path])
        task = self._making.get(path)
        if task is None:
            task = self._making[path] = asyncio.create_task(self._make(path, write, blob, *more, apart=apart))
            task.add_done_callback(partial(self._done, path))
        await asyncio.shield(task)  # it serves all who wait, whoever leaves

    async def _make(self, path: Path, write: Callable[..., None], blob: Path, *more: Any, apart: bool) -> None:
        try:
            if not apart and _is_small(blob):
                write(blob, *more, path)
            else:
                await self._compute.run(write, blob, *more, path)
        except ValueError as error:
            self._unsound[path] = str(error)
            while len(self._unsound) > MAX_KNOWN:
                self._unsound.popitem(last=False)
            raise UnsoundDocument(str(error)) from error
        self._made_bytes += self._seen(path) or 0
        if self._made_bytes > self._max_bytes // 8 and (self._sweeping is None or self._sweeping.done()):
            self._made_bytes = 0
            self._sweeping = asyncio.get_running_loop().run_in_executor(None, self.sweep)
            self._sweeping.add_done_callback(asyncio.Future.exception)  # the periodic sweep tells of a sick disk

    def _done(self, path: Path, task: asyncio.Task[None]) -> None:
        del self._making[path]
        if not task.cancelled():
            task.exception()  # seen, even when whoever waited was cancelled

    # What is there.

    def _path(self, digest: Digest, key: str) -> Path:
        stem = digest.removeprefix("sha256:")
        return self._root / stem[:2] / f"{stem}-{key}"

    def _seen(self, path: Path) -> int | None:
        """Give a document's size and note its use; None: it is not there. Looks at most once in `RECHECK_S`."""
        now = self._clock.monotonic()
        with self._lock:
            size, looked_at = self._known.get(path, (0, float("-inf")))
            if now - looked_at < RECHECK_S:
                self._known.move_to_end(path)
                return size
        try:
            stat = path.stat()
            if abs(self._clock.now() - stat.st_mtime) > TOUCH_S:
                path.touch()
        except FileNotFoundError:
            self._forget(path)
            return None
        with self._lock:
            self._known[path] = (stat.st_size, now)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return stat.st_size

    def _forget(self, path: Path) -> None:
        with self._lock:
            self._known.pop(path, None)

    def _remove(self, path: Path) -> None:
        self._forget(path)
        path.unlink(missing_ok=True)

    def _uses(self) -> Iterator[_Use]:
        """List the documents; removes what was left half-written on the way."""
        for path in self._root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if not path.name.startswith(PARTIAL):
                    yield _Use(path, stat.st_size, stat.st_mtime)
                elif self._clock.now() - stat.st_mtime > PARTIAL_S:
                    path.unlink(missing_ok=True)

    def _clear_other_boots(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for folder in self._directory.iterdir():
                if folder != self._root:
                    shutil.rmtree(folder, ignore_errors=True)


def _is_small(blob: Path) -> bool:
    return blob.stat().st_size <= INLINE_BYTES


def _key(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()


def _boot() -> str:
    """Name the machine's present boot."""
    try:
        return _BOOT_ID.read_text("ascii").strip()[:36]
    except OSError:
        return "unknown-boot"
