"""The catalog's questions and deletions for the collector: functions of a connection, each a bounded batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.artifacts.eviction import Candidate
from millpond.artifacts.model import Digest
from millpond.artifacts.rows import HELD_COLUMNS, Doom, Held, as_held
from millpond.artifacts.tables import BLOBS, ENTRIES

E, B = ENTRIES.c, BLOBS.c


def candidates(connection: Connection, after: tuple[float, int], limit: int) -> list[Candidate]:
    """List cached entries with blobs, least recently used first, behind `after` (last use and id)."""
    other = ENTRIES.alias()
    sharers = sa.select(sa.func.count()).select_from(other).where(other.c.digest == E.digest).scalar_subquery()
    query = (
        sa.select(E.id, E.repository, E.path, E.digest, B.size, sharers, E.last_used)
        .join(BLOBS, B.digest == E.digest)
        .where(E.local.is_(False), sa.tuple_(E.last_used, E.id) > sa.tuple_(*map(sa.literal, after)))
        .order_by(E.last_used, E.id)
        .limit(limit)
    )
    return [Candidate(*row) for row in connection.execute(query)]


def still_idle(connection: Connection, groups: Sequence[Sequence[Candidate]]) -> list[Held]:
    """Of the groups chosen, find the entries of those that are all what they were: same bytes, unused since, cached."""
    chosen = {one.id: one for group in groups for one in group}
    query = sa.select(*HELD_COLUMNS, E.last_used).where(E.id.in_(chosen), E.local.is_(False))
    idle: dict[int, Held] = {}
    for row in connection.execute(query):
        held, was = as_held(row), chosen[row[0]]
        if (held.digest, row.last_used) == (was.digest, was.last_used):
            idle[held.id] = held
    return [idle[one.id] for group in groups if all(one.id in idle for one in group) for one in group]


def unneeded(connection: Connection, after: Digest, limit: int) -> list[Digest]:
    """List blobs behind `after` that no entry needs and that are not marked so."""
    needed = sa.exists().where(E.digest == B.digest)
    query = sa.select(B.digest).where(B.digest > after, B.doomed_at.is_(None), ~needed)
    return list(connection.execute(query.order_by(B.digest).limit(limit)).scalars())


def doomed(
    connection: Connection, doom: Doom, limit: int, after: tuple[float, Digest] = (-math.inf, "")
) -> list[tuple[Digest, int, float]]:
    """List blobs that may go (see `rows.Doom`), those doomed first at the head: digest, size, since when."""
    query = (
        sa.select(B.digest, B.size, B.doomed_at)
        .where(B.doomed_at.is_not(None), B.doomed_at <= doom.before, B.keep_until <= doom.kept_until)
        .where(sa.tuple_(B.doomed_at, B.digest) > sa.tuple_(*map(sa.literal, after)))
        .order_by(B.doomed_at, B.digest)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def doomed_total(connection: Connection, doom: Doom) -> tuple[int, int]:
    """Count the blobs that may go (see `rows.Doom`), and their bytes."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(B.size), 0)).where(
        B.doomed_at.is_not(None), B.doomed_at <= doom.before, B.keep_until <= doom.kept_until
    )
    count, size = connection.execute(query).one()
    return count, size


def waiting(connection: Connection, digest: Digest, now: float) -> int | None:
    """Give the size of a blob that waits to be found again (see `inventory.register`) and that no entry needs."""
    needed = sa.exists().where(E.digest == B.digest)
    query = sa.select(B.size).where(B.digest == digest, B.keep_until > now, ~needed)
    return connection.execute(query).scalar_one_or_none()


def unknown(connection: Connection, digests: Sequence[Digest]) -> list[Digest]:
    """Tell which of these blobs the catalog does not know."""
    known = set(connection.execute(sa.select(B.digest).where(B.digest.in_(digests))).scalars())
    return [digest for digest in digests if digest not in known]


def unknown_in_order(connection: Connection, digests: Sequence[Digest]) -> list[Digest]:
    """Tell which of these blobs, in ascending order, the catalog does not know.

    The catalog's own are read along from the first to the last: for thousands of neighbours that is faster than to ask
    for each.
    """
    left = dict.fromkeys(digests)
    query = sa.select(B.digest).where(B.digest >= digests[0], B.digest <= digests[-1])
    for digest in connection.execute(query).scalars():
        left.pop(digest, None)
    return list(left)


def expired_negatives(connection: Connection, now: float, limit: int) -> list[tuple[str, str]]:
    """Delete "there is no such object" entries whose time is over; gives their repositories and paths."""
    some = sa.select(E.id).where(E.digest.is_(None), E.fresh_until < now).limit(limit)
    gone = sa.delete(ENTRIES).where(E.id.in_(some)).returning(E.repository, E.path)
    return [(row[0], row[1]) for row in connection.execute(gone)]


def count_expired_negatives(connection: Connection, now: float) -> int:
    """Count what `expired_negatives` would delete."""
    return connection.execute(sa.select(sa.func.count()).where(E.digest.is_(None), E.fresh_until < now)).scalar_one()
