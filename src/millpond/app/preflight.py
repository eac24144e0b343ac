"""What is found out before anything is opened: a mistake here would make a pond in the wrong place, or try for ever."""

from __future__ import annotations

from millpond.config import Config
from millpond.db import schema

CATALOG, BACKUPS = "catalog.sqlite", "backups"
"""Of the data directory: the database, and the folder of its backups."""


def has_pond(config: Config) -> bool:
    """Whether a daemon has ever kept its data here; what `init` and `check` adopted makes no pond.

    One that has lost its catalog is one: `fsck --repair` makes it anew, from a backup and what is stored.
    """
    data = config.server.data
    signs = (data / CATALOG, data / BACKUPS, config.storage_path / "blobs")
    return any(sign.exists() for sign in signs)


def prepare_catalog(config: Config) -> None:
    """Bring the catalog to this version's schema, or tell why it can't be opened.

    Raises `db.Damaged`, `ConfigError` (made by a newer Millpond, or by another program), `OSError`.
    """
    schema.ensure(config.server.data / CATALOG)
