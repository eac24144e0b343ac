"""Which files are opened, which are refused, and that the tables are what the code believes."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.db.whole import migrated, statements

from millpond.access.tokens import METADATA as ACCESS
from millpond.artifacts.tables import METADATA as ARTIFACTS
from millpond.db import Damaged, Database, schema
from millpond.delivery.board.tables import METADATA as BOARD
from millpond.delivery.ledger.tables import METADATA as DELIVERY
from millpond.errors import ConfigError
from millpond.hosts.releases import METADATA as RELEASES
from millpond.hosts.runs import METADATA as HOSTS
from millpond.leases import METADATA as LEASES


def test_the_revisions_in_the_code_are_those_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path):
    schema.ensure(tmp_path / "catalog.sqlite")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, [ARTIFACTS, ACCESS, LEASES, HOSTS, RELEASES, DELIVERY, BOARD]) == []
    engine.dispose()


async def test_opening_again_keeps_everything_and_does_without_alembic(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    first = await db.read(lambda connection: connection.execute(sa.text("SELECT value FROM meta")).scalars().all())
    await db.close()
    code = (
        "import sys; from pathlib import Path; from millpond.db import schema;"
        f"schema.ensure(Path({str(tmp_path / 'catalog.sqlite')!r}));"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    assert await db.read(lambda c: c.execute(sa.text("SELECT value FROM meta")).scalars().all()) == first
    await db.close()


def test_a_database_of_a_newer_millpond_is_refused_untouched(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    schema.ensure(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigError, match="newer Millpond"):
        schema.ensure(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_database_of_another_program_is_refused(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE things (id)")
    with pytest.raises(ConfigError, match="another program"):
        schema.ensure(path)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 10, b"\0" * 4096, b"short"])
def test_a_file_that_is_no_database_is_named_with_the_next_step(tmp_path: Path, content: bytes):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="fsck --repair"):
        schema.ensure(path)
    assert path.read_bytes() == content


def test_a_new_file_gets_what_the_migrations_would_make(tmp_path: Path):
    """Else: `python -m tests.db.whole` writes `migrations/head.sql` anew."""
    schema.ensure(tmp_path / "catalog.sqlite")
    old = migrated(tmp_path / "old.sqlite")
    assert statements(tmp_path / "catalog.sqlite") == statements(old)
    for path in (tmp_path / "catalog.sqlite", old):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT * FROM alembic_version").fetchall() == [(schema.HEAD,)]
            ((key, value),) = connection.execute("SELECT * FROM meta").fetchall()
            assert key == "catalog_id"
            assert re.fullmatch("[0-9a-f]{32}", value)


def test_a_new_file_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    path, broken = tmp_path / "catalog.sqlite", tmp_path / "head.sql"
    broken.write_text(schema.WHOLE.read_text() + "CREATE TABLE meta (again);")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "WHOLE", broken)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.ensure(path)
    assert statements(path) == []
    schema.ensure(path)
    assert len(statements(path)) > 40


def test_a_failed_migration_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch):
    path = migrated(tmp_path / "catalog.sqlite", "0005")
    before = statements(path)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", broken)
        with pytest.raises(RuntimeError):
            schema.ensure(path)
    assert statements(path) == before
    schema.ensure(path)
    assert statements(path) == statements(migrated(tmp_path / "new.sqlite"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema.HEAD,)


def test_an_older_schema_is_backed_up_before_it_is_migrated(tmp_path: Path, monkeypatch):
    path = tmp_path / "catalog.sqlite"
    schema.ensure(path)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    monkeypatch.setattr(schema, "HEAD", "9999")
    migrated: list[int] = []
    monkeypatch.setattr(schema, "_migrate", lambda path: migrated.append(len(list(backups(path)))))
    schema.ensure(path)
    assert migrated == [1]


def backups(path: Path):
    return (path.parent / "backups").glob("before-9999-*.sqlite3")


def test_a_folder_with_a_percent_sign_is_no_trouble(tmp_path: Path):
    folder = tmp_path / "100%(x)s"
    schema.ensure(folder / "catalog.sqlite")
    assert (folder / "catalog.sqlite").stat().st_size > 0


@pytest.mark.parametrize("how", ["_lay", "_migrate"])
def test_one_migrates_and_the_others_wait(tmp_path: Path, monkeypatch, how: str):
    real = getattr(schema, how)
    if how == "_migrate":
        migrated(tmp_path / "catalog.sqlite", "0005")
    migrating: list[Path] = []
    another = threading.Event()

    def slow(path: Path) -> None:
        migrating.append(path)
        if len(migrating) > 1:
            another.set()
        another.wait(0.2)  # room for one that does not wait
        real(path)

    monkeypatch.setattr(schema, how, slow)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(schema.ensure, [tmp_path / "catalog.sqlite"] * 3))
    assert len(migrating) == 1
