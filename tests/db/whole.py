"""The schema that the migrations make, as SQLite has it: run as a program, this writes `migrations/head.sql` anew."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from millpond.db import schema, sqlite


def migrated(path: Path, to: str = "head") -> Path:
    """Have the migrations up to one of them make a database."""
    sqlite.create_private(path)
    with sqlite.engine(path, writing=True).begin() as connection:
        schema.upgrade(connection, to)
    return path


def statements(path: Path) -> list[str]:
    """Give all that was created in a database, in that order."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(query)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = statements(migrated(Path(folder) / "catalog.sqlite"))
    schema.WHOLE.write_text("".join(f"{one};\n" for one in made))
