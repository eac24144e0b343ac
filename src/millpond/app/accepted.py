"""The configuration that holds now, written down for the workers: one that is started later takes the same as the rest.

A worker that read millpond.toml itself could not come back while the file is broken, and would differ from the others
while it is half edited. So the supervisor alone reads it. What it accepted lies in its memory, as a file that only its
user may open: it holds the secrets, which belong on no command line and, being copies, on no disk; and no full disk
stops a reload.

A new configuration is *proposed* first; `confirm` makes it the one that holds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, SecretStr

from millpond.app.sourcing import Source
from millpond.config import Config, open_network_problem
from millpond.errors import ConfigError

LASTING = ("server", "storage", "database", "usage")
"""The tables that take a restart to change."""
log = structlog.get_logger(__name__)


def read_again(source: Source, current: Config) -> Config:
    """Give the configuration as it may be from now on: what takes a restart stays, with a warning.

    Raises `ConfigError`.
    """
    new = source.load()
    for warning in new.warnings:
        log.warning("a setting is ignored", setting=warning)
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
    """The supervisor's own: what was accepted last, and what is proposed. The names of both stay the same."""

    def __init__(self, source: Source, config: Config) -> None:
        self._source, self._holds, self._proposed = source, config, config
        self._accepted, self._beside = _Memory(), _Memory()
        self.file = self._accepted.file
        self._accepted.fill(config)

    def propose(self) -> Path:
        """Read the configuration again and write it down for the workers to try. Raises `ConfigError`, `OSError`."""
        self._proposed = read_again(self._source, self._holds)
        self._beside.fill(self._proposed)
        return self._beside.file

    def confirm(self) -> None:
        """Let what was proposed hold from now on."""
        self._accepted.become(self._beside)
        self._holds = self._proposed


class _Memory:
    """A file that has no place on any disk (memfd_create(2)); others of this user open it through /proc."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("millpond-configuration")
        self.file = Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def fill(self, config: Config) -> None:
        """Replace its content, at once for whoever opens it from now on; who has it open reads the earlier one on."""
        new = os.memfd_create("millpond-configuration")
        with open(new, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(json.dumps(config.model_dump(), default=_plain).encode())
            file.flush()
            os.dup2(new, self._fd, inheritable=False)

    def become(self, other: _Memory) -> None:
        """Have the content of another, which may be filled anew later."""
        os.dup2(other._fd, self._fd, inheritable=False)


def read(file: Path) -> Config:
    """Read what was written down. Raises `OSError`."""
    return Config.model_validate(json.loads(file.read_bytes()))


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
