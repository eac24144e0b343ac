"""What is said to the catalog's tables: functions of a connection, run by `Database.read` and `Database.write`.

Each is a handful of statements; when they run together, and what happens on the disk meanwhile, is `catalog`'s and
`collection`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import Insert, insert  # PostgreSQL's has the same ON CONFLICT

from millpond.artifacts.freshness import CLOCK_SLACK_S
from millpond.artifacts.model import Digest, Entry, Use
from millpond.artifacts.tables import BLOBS, ENTRIES, META

Key: TypeAlias = tuple[str, str, str]
"""Repository, path, variant."""
E, B = ENTRIES.c, BLOBS.c
_FIELDS = tuple(field.name for field in fields(Entry))
_COLUMNS = tuple(E[name] for name in _FIELDS)
_KEY = ("repository", "path", "variant")
TOUCH_S = 60.0
"""`last_used` is exact to this, so that a popular entry's row isn't written each second."""
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Held:
    """A row of `entries` as removals see it."""

    id: int
    repository: str
    path: str
    variant: str
    digest: Digest | None
    local: bool
    record: bool
    """Whether it holds freshness or validators."""


HELD_COLUMNS = (
    E.id,
    E.repository,
    E.path,
    E.variant,
    E.digest,
    E.local,
    sa.or_(E.fresh_until > 0, E.etag != "", E.last_modified != "").label("record"),
)


@dataclass(frozen=True, slots=True)
class Doom:
    """Which unneeded blobs may go: doomed until `before`, and to be kept (after a lost catalog) until `kept_until`."""

    before: float
    kept_until: float


def entry_columns() -> tuple[sa.Column[Any], ...]:
    """Give the columns that `as_entry` reads."""
    return _COLUMNS


def as_held(row: Sequence[Any]) -> Held:
    """Make a `Held` of a row that begins with its columns."""
    return Held(row[0], row[1], row[2], row[3], row[4], bool(row[5]), bool(row[6]))


def as_entry(row: Sequence[Any]) -> Entry:
    """Make an entry of a row that begins with its columns."""
    return Entry(*row[: len(_FIELDS)])


def key_of(entry: Entry) -> Key:
    """Give the key of an entry."""
    return entry.repository, entry.path, entry.variant


# Statements of the hot paths are made once: building one costs more than running it.
_AT = sa.and_(*(E[name] == sa.bindparam(f"at_{name}") for name in _KEY))
_FIND = sa.select(*_COLUMNS).where(_AT)
_BEFORE = sa.select(E.digest, E.local).where(_AT)


def _upsert(table: sa.Table, conflict: Sequence[str], kept: Sequence[str], **fixed: Any) -> Insert:
    """Make an INSERT that takes over the `kept` columns, and sets the `fixed` ones, where the row is there."""
    row = insert(table)
    return row.on_conflict_do_update(index_elements=conflict, set_={name: row.excluded[name] for name in kept} | fixed)


_PUT_BLOB = _upsert(BLOBS, ["digest"], ["size"], doomed_at=None, keep_until=0.0)
_PUT_ENTRY = _upsert(ENTRIES, _KEY, [*_FIELDS, "local", "uploaded_by", "last_used"])
_CHECKED: sa.ColumnElement[Any] = sa.bindparam("at_checked", type_=sa.Double())
# A check far ahead of this one was made by a clock that has been set back since: it counts as older.
_LATER = sa.or_(E.checked_at <= _CHECKED, E.checked_at > _CHECKED + CLOCK_SLACK_S)
_NEWER = sa.and_(E.local.is_(False), _LATER)


def _put_negative() -> Insert:
    row = insert(ENTRIES)
    new = {name: row.excluded[name] for name in _FIELDS}
    return row.on_conflict_do_update(index_elements=_KEY, set_=new, where=_NEWER)


_PUT_NEGATIVE = _put_negative()
_FRESHEN = (
    sa.update(ENTRIES)
    .where(_AT, _NEWER, E.digest == sa.bindparam("at_digest"))
    .values({name: sa.bindparam(f"new_{name}") for name in _FIELDS if name not in _KEY})
)


def _at(key: Key) -> dict[str, Any]:
    return {f"at_{name}": value for name, value in zip(_KEY, key, strict=True)}


def _values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _FIELDS}


def find(connection: Connection, key: Key) -> Entry | None:
    """Read one entry."""
    row = connection.execute(_FIND, _at(key)).one_or_none()
    return None if row is None else as_entry(row)


def before(connection: Connection, key: Key) -> tuple[Digest | None, bool] | None:
    """Read the digest of what is there, and whether it is local; None: nothing is there."""
    row = connection.execute(_BEFORE, _at(key)).one_or_none()
    return None if row is None else (row.digest, bool(row.local))


def of_digest(connection: Connection, repository: str, digest: Digest, *, unlike: str | None = None) -> Entry | None:
    """Read one of the entries under which a repository caches a blob, of another type than `unlike`; None: none."""
    own = sa.and_(E.digest == digest, E.repository == repository, E.local.is_(False))
    own = own if unlike is None else sa.and_(own, E.content_type != unlike)
    row = connection.execute(sa.select(*_COLUMNS).where(own).limit(1)).one_or_none()
    return None if row is None else as_entry(row)


def put_blob(connection: Connection, digest: Digest, size: int, now: float) -> None:
    """Note a blob as needed."""
    connection.execute(_PUT_BLOB, {"digest": digest, "size": size, "created_at": now, "keep_until": 0.0})


def may_adopt(connection: Connection, repository: str, digest: Digest, now: float) -> bool:
    """Whether a repository may have a blob that is here without bringing its bytes.

    It may if it has it already, or if the blob was found again after a lost catalog and waits to be adopted. That it is
    stored for another repository is no permission.
    """
    own = sa.exists().where(E.digest == digest, E.repository == repository, E.local.is_(False))
    waiting = sa.exists().where(B.digest == digest, B.keep_until > now, ~sa.exists().where(E.digest == digest))
    return bool(connection.execute(sa.select(sa.or_(own, waiting))).scalar_one())


def put_entry(connection: Connection, entry: Entry, *, local: bool, uploaded_by: str, now: float) -> None:
    """Write an entry, in place of what was there."""
    more = {"local": local, "uploaded_by": uploaded_by, "last_used": now}
    connection.execute(_PUT_ENTRY, _values(entry) | more)


def put_negative(connection: Connection, entry: Entry, now: float) -> bool:
    """Write "there is no such object" unless a newer check says otherwise; uploads are left alone."""
    more = {"local": False, "uploaded_by": "", "last_used": now, "at_checked": entry.checked_at}
    return connection.execute(_PUT_NEGATIVE, _values(entry) | more).rowcount > 0


def freshen(connection: Connection, entry: Entry) -> bool:
    """Write what a check told about stored bytes; only if they are still these, and no newer check told more."""
    new = {f"new_{name}": value for name, value in _values(entry).items() if name not in _KEY}
    same = _at(key_of(entry)) | {"at_checked": entry.checked_at, "at_digest": entry.digest}
    return connection.execute(_FRESHEN, new | same).rowcount > 0


def touch(connection: Connection, uses: Iterable[Use]) -> None:
    """Note when entries were last used; the latest use of each counts."""
    latest: dict[tuple[str, str], float] = {}
    for use in uses:
        key = (use.repository, use.path)
        latest[key] = max(use.at, latest.get(key, 0.0))
    if not latest:
        return
    change = (
        sa.update(ENTRIES)
        .where(E.repository == sa.bindparam("r"), E.path == sa.bindparam("p"))
        .where(E.last_used < sa.bindparam("old"))
        .values(last_used=sa.bindparam("at"))
    )
    rows = [{"r": key[0], "p": key[1], "at": at, "old": at - TOUCH_S} for key, at in latest.items()]
    connection.execute(change, rows)


def held_at(connection: Connection, repository: str, path: str, variant: str | None) -> list[Held]:
    """Find the entries of a path: one variant, or all of them."""
    query = sa.select(*HELD_COLUMNS).where(E.repository == repository, E.path == path)
    if variant is not None:
        query = query.where(E.variant == variant)
    return [as_held(row) for row in connection.execute(query)]


def cached_in(
    connection: Connection, repositories: Sequence[str] | None, span: tuple[int, int], limit: int
) -> list[Held]:
    """Find cached (not local) entries with ids above span[0], up to span[1]."""
    query = (
        sa.select(*HELD_COLUMNS).where(E.id > span[0], E.id <= span[1], E.local.is_(False)).order_by(E.id).limit(limit)
    )
    if repositories is not None:
        query = query.where(E.repository.in_(repositories))
    return [as_held(row) for row in connection.execute(query)]


def last_id(connection: Connection) -> int:
    """Give the highest id of an entry."""
    return connection.execute(sa.select(sa.func.max(E.id))).scalar() or 0


def drop(connection: Connection, ids: Sequence[int]) -> None:
    """Delete entries."""
    connection.execute(sa.delete(ENTRIES).where(E.id.in_(ids)))


def doom(connection: Connection, digests: Iterable[Digest], now: float) -> list[Digest]:
    """Mark those blobs that no entry needs any more; gives those marked now or before."""
    unneeded = sa.and_(B.digest.in_(set(digests)), _unreferenced())
    connection.execute(sa.update(BLOBS).where(unneeded, B.doomed_at.is_(None)).values(doomed_at=now))
    return list(connection.execute(sa.select(B.digest).where(unneeded)).scalars())


def forget_blobs(connection: Connection, digests: Iterable[Digest], doom: Doom) -> list[tuple[Digest, int]]:
    """Delete the rows of doomed blobs that still no entry needs; gives their sizes."""
    gone = sa.and_(B.digest.in_(set(digests)), B.doomed_at <= doom.before, B.keep_until <= doom.kept_until)
    rows = connection.execute(sa.delete(BLOBS).where(gone, _unreferenced()).returning(B.digest, B.size))
    return [(row[0], row[1]) for row in rows]


def _unreferenced() -> sa.ColumnElement[bool]:
    return ~sa.exists().where(E.digest == B.digest)


def listed(connection: Connection, repository: str, prefix: str, after: tuple[str, str], limit: int) -> list[Entry]:
    """List entries whose path begins with `prefix`, by path and variant, behind `after`."""
    place = sa.tuple_(E.path, E.variant)
    query = sa.select(*_COLUMNS).where(E.repository == repository, place > sa.tuple_(*map(sa.literal, after)))
    if prefix:
        query = query.where(E.path >= prefix, E.path < prefix + _LAST)
    return [as_entry(row) for row in connection.execute(query.order_by(E.path, E.variant).limit(limit))]


def cached_below(connection: Connection, repository: str, prefixes: Sequence[str], limit: int) -> list[Entry]:
    """List what is cached under paths that begin with one of the prefixes, the newest first; no absences."""
    ranges = [sa.and_(E.path >= prefix, E.path < prefix + _LAST) for prefix in prefixes]
    query = sa.select(*_COLUMNS).where(E.repository == repository, E.digest.is_not(None), sa.or_(*ranges))
    newest = query.order_by(E.stored_at.desc(), E.path).limit(limit)
    return [as_entry(row) for row in connection.execute(newest)]


def paths_below(connection: Connection, repository: str, prefix: str, limit: int) -> list[str]:
    """List the paths that begin with a prefix."""
    below = sa.and_(E.repository == repository, E.path >= prefix, E.path < prefix + _LAST)
    return list(connection.execute(sa.select(E.path).where(below).limit(limit)).scalars())


def expire(connection: Connection, repository: str, paths: Sequence[str]) -> None:
    """Take the freshness of cached entries away."""
    there = sa.and_(E.repository == repository, E.path.in_(paths), E.local.is_(False))
    connection.execute(sa.update(ENTRIES).where(there).values(fresh_until=0.0, refresh_until=0.0, retry_at=0.0))


def by_repository(connection: Connection) -> list[tuple[str, int, int, int, int]]:
    """Count for each repository: positive entries, negative ones, local ones, bytes."""
    query = sa.select(
        E.repository,
        sa.func.count(E.digest),
        sa.func.count() - sa.func.count(E.digest),
        sa.func.coalesce(sa.func.sum(sa.cast(E.local, sa.Integer)), 0),
        sa.func.coalesce(sa.func.sum(E.size), 0),
    ).group_by(E.repository)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(query)]


def stored(connection: Connection) -> tuple[int, int]:
    """Count the blobs and their bytes."""
    row = connection.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(B.size), 0)).select_from(BLOBS))
    count, size = row.one()
    return count, size


def catalog_id(connection: Connection) -> str:
    """Give the id of this catalog; a backup of it has another one."""
    return str(connection.execute(sa.select(META.c.value).where(META.c.key == "catalog_id")).scalar_one())
