"""The configuration that holds now, written down for the workers: one that is started later takes the same as the rest.

A worker that read millpond.toml itself could not come back while the file is broken, and would differ from the others
while it is half edited. So the supervisor alone reads it. What it accepted lies in the data directory, in a file that
only its owner may read: it holds the secrets, as the other credentials there. It is removed when the daemon stops.

A new configuration is *proposed* first; `confirm` makes it the one that holds, `withdraw` forgets it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, SecretStr

from millpond.adopt.atomic import replace_file
from millpond.app.loading import Source
from millpond.config import Config, open_network_problem
from millpond.errors import ConfigError

ACCEPTED, PROPOSED = "accepted.json", "proposed.json"
LASTING = ("server", "storage", "database", "usage")
"""The tables that take a restart to change."""
log = structlog.get_logger(__name__)


def read_again(source: Source, current: Config) -> Config:
    """Give the configuration as it may be from now on: what takes a restart stays, with a warning.

    Raises `ConfigError`.
    """
    new = source.load()
    for table in LASTING:
        old, wanted = getattr(current, table), getattr(new, table)
        for key in type(old).model_fields:
            taken = (table, key) == ("server", "port") and wanted.port == 0
            if getattr(old, key) != getattr(wanted, key) and not taken:
                log.warning("this setting takes a restart to change", key=f"{table}.{key}")
    config = new.model_copy(update={table: getattr(current, table) for table in LASTING})
    problem = open_network_problem(config)
    if problem is not None:
        raise ConfigError(problem)
    return config


class Accepted:
    """The supervisor's own: what was accepted last, and what is proposed.

    Raises `OSError` where it can't be written.
    """

    def __init__(self, source: Source, config: Config) -> None:
        self._source, self._holds, self._proposed = source, config, config
        folder = config.server.data
        self.file, self._beside = folder / ACCEPTED, folder / PROPOSED
        write(self.file, config)

    def propose(self) -> Path:
        """Read the configuration again and write it down for the workers to try. Raises `ConfigError`, `OSError`."""
        self._proposed = read_again(self._source, self._holds)
        write(self._beside, self._proposed)
        return self._beside

    def confirm(self) -> None:
        """Let what was proposed hold from now on."""
        self._beside.replace(self.file)
        self._holds = self._proposed

    def withdraw(self) -> None:
        """Forget what was proposed."""
        self._beside.unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave no secrets behind."""
        self.withdraw()
        self.file.unlink(missing_ok=True)


def write(file: Path, config: Config) -> None:
    """Write a configuration down, secrets and all, for its owner's eyes only. Raises `OSError`."""
    replace_file(file, json.dumps(config.model_dump(), default=_plain).encode())


def read(file: Path) -> Config:
    """Read what `write` wrote. Raises `OSError`."""
    return Config.model_validate(json.loads(file.read_bytes()))


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
