"""How a decision is carried out: what the database looks at for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.dialects import sqlite

from millpond.db import schema
from millpond.delivery.ledger.applying import spent_and_promised


def test_what_is_promised_is_found_without_a_look_at_all_jobs_that_ever_ran(tmp_path: Path):
    schema.ensure(path := tmp_path / "catalog.sqlite")
    query = spent_and_promised(1e9, "shop", 1).compile(
        dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}
    )
    values = [query.params[name] for name in query.positiontup or ()]
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    searched = [line for line in plan if "delivery_jobs" in line]
    assert len(searched) == 2
    assert all(line.startswith("SEARCH") for line in searched), plan
    assert any("ix_delivery_jobs_owing" in line for line in searched), plan
