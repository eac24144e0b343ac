"""What the artifacts area needs of the world, as protocols. `app` wires the adapters to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from millpond.artifacts.model import Digest, Reply


class UpstreamReply(Protocol):
    """An upstream's answer whose body has not been read yet."""

    head: Reply

    def chunks(self, size: int) -> AsyncIterator[bytes]:
        """Give the body in pieces of at most `size` bytes.

        Raises `UpstreamUnreachable` (kind reset, timeout, truncated) when it does not arrive whole.
        """


class Upstream(Protocol):
    """One repository's upstream: its base URL, credentials, connections, limits and circuit."""

    base_url: str

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AbstractAsyncContextManager[UpstreamReply]:
        """Ask for an absolute URL, following redirects; leaving the context gives the connection back, or closes it.

        POST follows none, and has a circuit of its own: a service that fails stops no downloads.
        Raises `UpstreamUnreachable`. A status of any kind is an answer, not an exception.
        """

    def status(self) -> Mapping[str, object]:
        """Tell state (``closed``, ``open``, ``half-open``), failures, last error, latency, for people and metrics."""

    async def close(self) -> None:
        """Close the connections."""


@runtime_checkable
class Rationed(Protocol):
    """An upstream that gives so much in a time, and tells how much is left."""

    def short(self) -> str:
        """Say that little is left of the ration, so that it should be spared; empty: there is enough, or no ration."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A stored blob: digest, size in bytes, and when its file was written (epoch seconds)."""

    digest: Digest
    size: int
    stored_at: float


class BlobStore(Protocol):
    """Content-addressed blobs. What is in it is whole: a blob appears by one rename, or not at all."""

    def path(self, digest: Digest) -> Path:
        """Where the blob's file is (or would be). Raises `ValueError` for a malformed digest."""

    def stat(self, digest: Digest) -> Descriptor | None:
        """Describe a stored blob; None: not here."""

    async def stage(self, spool: Path, *, durable: bool = False) -> Path:
        """Do what takes long of `place`, before any lock is taken: copy across file systems, sync the bytes.

        At once where there is nothing to do. Gives the file to `place`: the spool file, or a copy of it.
        """

    def place(self, spool: Path, digest: Digest, *, durable: bool = False) -> None:
        """Move a finished spool file in. `durable`: file and directory are synced first."""

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; False: was not there. Readers that have it open keep it."""

    def walk(self) -> Iterator[Digest]:
        """List every blob, by name alone and in ascending order."""


class Stamps(Protocol):
    """Stamps by their slot."""

    def __getitem__(self, slot: int, /) -> int:
        """Give the stamp at a slot."""


class Invalidation(Protocol):
    """Tells every worker process that a key has changed."""

    @property
    def stamps(self) -> Stamps:
        """All stamps, for who reads one again and again: ``stamps[slot(key)]`` is ``stamp(key)``."""

    def slot(self, key: str) -> int:
        """Give the key's place among the stamps."""

    def stamp(self, key: str) -> int:
        """Read the key's stamp: take it before reading what it guards, and compare later."""

    def touch(self, key: str) -> None:
        """Change the key's stamp, after the change is committed."""

    def touch_all(self) -> None:
        """Change every stamp."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far another process's flight is: one of the phases below, bytes written, the announced head."""

    phase: int
    written: int
    head: bytes


PREPARING, STREAMING, LANDED, FAILED, UNSHARED = range(5)
"""Phases of a flight. UNSHARED: it goes on for its own clients only; its bytes are not all in the spool file."""


class Seat(Protocol):
    """The leader's side of a flight: whoever holds it fetches; a process that dies loses it at once."""

    def announce(self, head: bytes) -> None:
        """Tell the followers the head and that bytes begin to come. Raises `ValueError` when the head is too large."""

    def progress(self, written: int) -> None:
        """Tell how many bytes may be read from the spool file."""

    def unshare(self) -> None:
        """Tell the followers that they need a flight of their own."""

    def leave(self, phase: int) -> None:
        """End the flight with its last phase, and let go."""


class Watch(Protocol):
    """A follower's side of a flight that another process leads."""

    def look(self) -> Progress:
        """Read how far it is."""

    def abandoned(self) -> bool:
        """Whether the leader is gone (after this, `look` tells whether it ended well)."""

    def close(self) -> None:
        """Stop watching."""


class FlightLock(Protocol):
    """One flight for a key across worker processes (flock and mmap on one machine; advisory locks elsewhere, later)."""

    spool: Path
    """The folder of spool files, on a local disk."""

    def lead(self, key: str) -> Seat | None:
        """Take the seat; None: somebody else has it."""

    def follow(self, key: str) -> Watch | None:
        """Watch the flight of another process; None: there is none (any more)."""
