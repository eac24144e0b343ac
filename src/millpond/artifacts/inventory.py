"""The catalog's questions and changes for `fsck`: functions of a connection."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert  # PostgreSQL's has the same ON CONFLICT

from millpond.artifacts.model import Digest, Entry
from millpond.artifacts.rows import HELD_COLUMNS, Held, Key, as_entry, as_held, entry_columns
from millpond.artifacts.tables import BLOBS, ENTRIES

E, B = ENTRIES.c, BLOBS.c


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob as the catalog has it, and how many uploads and cached entries need it."""

    digest: Digest
    size: int
    uploads: int
    copies: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload's entry, with what `Entry` does not tell."""

    id: int
    entry: Entry
    uploaded_by: str


def blobs(connection: Connection, after: Digest, limit: int) -> list[BlobRow]:
    """List blobs behind `after`, by digest."""
    uploads = sa.func.coalesce(sa.func.sum(sa.cast(E.local, sa.Integer)), 0)
    query = (
        sa.select(B.digest, B.size, uploads, sa.func.count(E.id) - uploads)
        .join(ENTRIES, E.digest == B.digest, isouter=True)
        .where(B.digest > after)
        .group_by(B.digest, B.size)
        .order_by(B.digest)
        .limit(limit)
    )
    return [BlobRow(*row) for row in connection.execute(query)]


def copies(connection: Connection, digest: Digest) -> list[Held]:
    """List the cached entries of a blob."""
    query = sa.select(*HELD_COLUMNS).where(E.digest == digest, E.local.is_(False))
    return [as_held(row) for row in connection.execute(query)]


def upload(connection: Connection, key: Key) -> Upload | None:
    """Read an upload's entry; None: there is none (or a cached one)."""
    at = sa.and_(E.repository == key[0], E.path == key[1], E.variant == key[2], E.local.is_(True))
    row = connection.execute(sa.select(*entry_columns(), E.id, E.uploaded_by).where(at)).one_or_none()
    return None if row is None else Upload(row.id, as_entry(row), row.uploaded_by)


def uploads(connection: Connection, after: int, limit: int) -> list[Upload]:
    """List uploads' entries with ids above `after`."""
    query = sa.select(*entry_columns(), E.id, E.uploaded_by).where(E.id > after, E.local.is_(True))
    rows = connection.execute(query.order_by(E.id).limit(limit))
    return [Upload(row.id, as_entry(row), row.uploaded_by) for row in rows]


def register(connection: Connection, digest: Digest, size: int, now: float, keep_until: float) -> bool:
    """Note a blob that was found on the disk, to be kept for a while; False: it was known."""
    row = insert(BLOBS).values(digest=digest, size=size, created_at=now, doomed_at=now, keep_until=keep_until)
    return connection.execute(row.on_conflict_do_nothing()).rowcount > 0


def uploads_of(connection: Connection, digest: Digest, limit: int) -> list[tuple[str, str]]:
    """List repository and path of the uploads that need a blob."""
    query = sa.select(E.repository, E.path).where(E.digest == digest, E.local.is_(True)).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(query)]
