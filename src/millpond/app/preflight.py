"""What is found out once, before any worker starts: a mistake here would only make the supervisor try for ever."""

from __future__ import annotations

from millpond.app.application import CATALOG
from millpond.config import Config
from millpond.db import schema


def prepare_catalog(config: Config) -> None:
    """Bring the catalog to this version's schema, or tell why it can't be opened.

    Raises `db.Damaged`, `ConfigError` (made by a newer Millpond, or by another program), `OSError`.
    """
    schema.ensure(config.server.data / CATALOG)
