"""Tokens: made once, shown once, kept as hashes.

A secret is ``mp_`` and 32 random bytes. Since nobody chose it, there is nothing to guess: one sha256 is as good as a
slow password hash, and cheap enough for each request. What was looked up is remembered in memory, wrong secrets too (in
a list of their own, so that a flood of them can't push the right ones out), until another process changes a token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.access.scopes import Scope, allows, parse_all
from millpond.clock import Clock
from millpond.db import Database
from millpond.errors import BadRequest, Conflict, NotFound

PREFIX = "mp_"
KEY = "tokens"
"""The invalidation key of all tokens."""
MAX_REMEMBERED = 4096
MAX_AGE_S = 60.0
"""How long a look-up is believed without a sign of change: the bound for a process that died before it could tell."""
MAX_NAME = 100
MAX_SECRET = 512
_BY_ID = "id:"
"""What ids are remembered under, beside the hashes of secrets."""

METADATA = sa.MetaData()
TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("secret_sha256", sa.String, nullable=False, unique=True),
    sa.Column("scopes", sa.String, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
)


class Stamps(Protocol):
    """What is needed of `artifacts.ports.Invalidation`."""

    def stamp(self, key: str) -> int:
        """Read a key's stamp."""

    def touch(self, key: str) -> None:
        """Change a key's stamp."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token's record; times in epoch seconds."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    expires_at: float | None = None

    def may(self, need: Scope) -> bool:
        """Whether the token's scopes imply `need`."""
        return allows(self.scopes, need)


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal | None
    stamp: int
    until: float


class Tokens:
    """The tokens of one pond."""

    def __init__(self, db: Database, clock: Clock, stamps: Stamps) -> None:
        self._db, self._clock, self._stamps = db, clock, stamps
        self._right: OrderedDict[str, _Known] = OrderedDict()
        self._wrong: OrderedDict[str, _Known] = OrderedDict()
        self._used: dict[str, float] = {}

    async def create(self, name: str, scopes: Iterable[str], expires_at: float | None = None) -> tuple[Token, str]:
        """Make a token; gives its record and its secret, which can't be had again.

        Raises `BadRequest` (no name, no or an unknown scope, an expiry that is past), `Conflict` (the name is taken).
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        return await self.enrol(name, scopes, secret, expires_at), secret

    async def enrol(self, name: str, scopes: Iterable[str], secret: str, expires_at: float | None = None) -> Token:
        """Make a token of a given high-entropy secret; see `create`."""
        now = self._clock.now()
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise BadRequest(f"a token needs a printable name of at most {MAX_NAME} characters")
        if expires_at is not None and expires_at <= now:
            raise BadRequest("the token would be expired from the start: choose a later time")
        token = Token(uuid.uuid4().hex[:12], name, parse_all(scopes), now, expires_at, None, None)

        def insert(connection: Connection) -> None:
            taken = sa.select(TOKENS.c.id).where(TOKENS.c.name == name, _live(now))
            if connection.execute(taken).first() is not None:
                raise Conflict(f"there is a token named {name!r} already: revoke it first, or choose another name")
            connection.execute(sa.insert(TOKENS).values(**_columns(token, secret)))

        await self._db.write(insert, durable=True, committed=lambda _: self._stamps.touch(KEY))
        return token

    def cached(self, secret: str) -> Principal | None:
        """Give what is remembered of a secret, without I/O; None: unknown, wrong, or to be looked up by `check`."""
        known = self._known(_hash(secret))
        return self._used_now(known) if known is not None else None

    async def check(self, secret: str) -> Principal | None:
        """Find out whose secret this is; None: nobody's (wrong, revoked or expired)."""
        if len(secret) > MAX_SECRET or not secret.isascii():
            return None
        hashed = _hash(secret)
        known = self._known(hashed)
        if known is None:
            stamp = self._stamps.stamp(KEY)
            principal = await self._db.read(lambda connection: _find(connection, TOKENS.c.secret_sha256, hashed))
            known = self._remember(hashed, _Known(principal, stamp, self._clock.monotonic() + MAX_AGE_S))
        return self._used_now(known)

    def cached_id(self, token_id: str) -> Principal | None:
        """Give what is remembered of a token's id, without I/O; None: unknown, gone, or to be looked up by `of_id`."""
        known = self._known(_BY_ID + token_id)
        return self._used_now(known) if known is not None else None

    async def of_id(self, token_id: str) -> Principal | None:
        """Give the token of an id while it is good; None: there is none, or it was revoked or has expired."""
        known = self._known(_BY_ID + token_id)
        if known is None:
            stamp = self._stamps.stamp(KEY)
            principal = await self._db.read(lambda connection: _find(connection, TOKENS.c.id, token_id))
            until = self._clock.monotonic() + MAX_AGE_S
            known = self._remember(_BY_ID + token_id, _Known(principal, stamp, until))
        return self._used_now(known)

    async def list(self) -> tuple[Token, ...]:
        """List all tokens, revoked and expired ones too, newest first."""
        query = sa.select(TOKENS).order_by(TOKENS.c.created_at.desc(), TOKENS.c.id)
        rows = await self._db.read(lambda connection: connection.execute(query).all())
        return tuple(_token(row) for row in rows)

    async def revoke(self, id_or_name: str) -> Token:
        """End a token, for every process. Raises `NotFound`."""
        now = self._clock.now()

        def end(connection: Connection) -> Token:
            which = sa.or_(TOKENS.c.id == id_or_name, TOKENS.c.name == id_or_name)
            change = sa.update(TOKENS).where(which, TOKENS.c.revoked_at.is_(None)).values(revoked_at=now)
            row = connection.execute(change.returning(*TOKENS.c)).first()
            if row is None:
                raise NotFound(f"there is no token {id_or_name!r}: `millpond token ls` lists them")
            return _token(row)

        return await self._db.write(end, durable=True, committed=lambda _: self._stamps.touch(KEY))

    async def forget(self, name: str, *, family: str = "") -> int:
        """End the tokens of a name, and remove their records; gives how many there were.

        `family`: those as well that have expired and whose names begin so.
        """
        gone = TOKENS.c.name == name
        if family:
            expired = TOKENS.c.expires_at <= self._clock.now()
            gone = sa.or_(gone, sa.and_(TOKENS.c.name.startswith(family, autoescape=True), expired))

        def remove(connection: Connection) -> int:
            return connection.execute(sa.delete(TOKENS).where(gone)).rowcount

        return await self._db.write(remove, durable=True, committed=lambda _: self._stamps.touch(KEY))

    async def flush(self) -> None:
        """Write down when tokens were last used; in batches, now and then."""
        used, self._used = self._used, {}
        if used:
            change = sa.update(TOKENS).where(TOKENS.c.id == sa.bindparam("which"))
            rows = [{"which": token, "last_used_at": at} for token, at in used.items()]
            await self._db.write(lambda connection: connection.execute(change, rows))

    async def known(self, secret: str) -> bool:
        """Whether a secret was ever a token here, revoked and expired ones too."""
        query = sa.select(TOKENS.c.id).where(TOKENS.c.secret_sha256 == _hash(secret))
        return await self._db.read(lambda connection: connection.execute(query).first() is not None)

    def _known(self, hashed: str) -> _Known | None:
        for memory in (self._right, self._wrong):
            known = memory.get(hashed)
            if known is None:
                continue
            if known.stamp == self._stamps.stamp(KEY) and known.until > self._clock.monotonic():
                memory.move_to_end(hashed)
                return known
            del memory[hashed]
        return None

    def _remember(self, hashed: str, known: _Known) -> _Known:
        memory = self._wrong if known.principal is None else self._right
        memory[hashed] = known
        if len(memory) > MAX_REMEMBERED:
            memory.popitem(last=False)
        return known

    def _used_now(self, known: _Known) -> Principal | None:
        found = self._in_time(known.principal)
        if found is not None:
            self._used[found.id] = self._clock.now()
        return found

    def _in_time(self, principal: Principal | None) -> Principal | None:
        if principal is None or principal.expires_at is None or self._clock.now() < principal.expires_at:
            return principal
        return None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _live(now: float) -> sa.ColumnElement[bool]:
    in_time = sa.or_(TOKENS.c.expires_at.is_(None), TOKENS.c.expires_at > now)
    return sa.and_(TOKENS.c.revoked_at.is_(None), in_time)


def _find(connection: Connection, column: sa.Column[Any], value: str) -> Principal | None:
    """Look a hash (or an id) up.

    The index compares hashes of random secrets, whose timing tells nothing; the last word is constant in time all the
    same.
    """
    row = connection.execute(sa.select(TOKENS).where(column == value)).one_or_none()
    if row is None or row.revoked_at is not None or not hmac.compare_digest(getattr(row, column.name), value):
        return None
    token = _token(row)
    return Principal(token.id, token.name, token.scopes, token.expires_at)


def _columns(token: Token, secret: str) -> Mapping[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "secret_sha256": _hash(secret),
        "scopes": " ".join(str(scope) for scope in token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        row.id,
        row.name,
        parse_all([row.scopes]),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )
