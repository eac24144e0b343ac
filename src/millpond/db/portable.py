"""What the databases say differently: their clock, and inserting what may be there already.

Everything else is SQL that both take. `FOR UPDATE SKIP LOCKED` is written as SQLAlchemy has it: PostgreSQL gets it, and
for SQLite, whose write transactions are one at a time anyway, it is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_WAITING = 0x6D696C6D
"""The first half of the advisory locks' numbers; the other one is a hash, so that two things may share one."""


class epoch(FunctionElement[float]):  # noqa: N801 - named as SQL functions are
    """The database's own clock: seconds since the epoch, milliseconds at least."""

    type = sa.Double()
    inherit_cache = True
    name = "epoch"


@compiles(epoch, "sqlite")
def _sqlite_epoch(element: epoch, compiler: Any, **options: Any) -> str:  # noqa: ARG001 - as SQLAlchemy calls it
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch, "postgresql")
def _postgresql_epoch(element: epoch, compiler: Any, **options: Any) -> str:  # noqa: ARG001 - as SQLAlchemy calls it
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def one_at_a_time(connection: Connection, what: str) -> None:
    """Let nobody else past here for the same thing until the transaction ends; what they wrote before is seen.

    SQLite's write transactions are one at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WAITING, sa.func.hashtext(what))))


def insert(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Begin an INSERT that may be told what to do where the row, or one that excludes it, is there already.

    `dialect` is the name of a connection's dialect.
    """
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def insert_new(connection: Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row; False: a unique index had one already, and nothing was done."""
    return connection.execute(_inserting(connection.dialect.name, table), values).first() is not None


@cache
def _inserting(dialect: str, table: sa.Table) -> sa.Executable:
    """Make the statement once: building it takes longer than running it.

    What comes back tells whether there is a new row; a row count of an INSERT is not told by every driver.
    """
    return insert(dialect, table).on_conflict_do_nothing().returning(sa.literal(1))
