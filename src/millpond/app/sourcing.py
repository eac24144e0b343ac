"""Where a configuration comes from, read with the packages of this version.

Every command reads it, so that nothing else of the application is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from millpond.artifacts.formats import FORMATS
from millpond.config import Config, Kinds, PackageKind
from millpond.config import load as load_config

TYPES: Mapping[str, tuple[str, ...]] = {"generic": ("remote", "local")}
ADOPTABLE = frozenset({"alpine", "debian", "docker", "npm", "pypi", "rpm"})
GENERIC, DOCKER, RPM = "generic", "docker", "rpm"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from, so that a reload reads the same again."""

    path: Path | None
    overrides: Mapping[str, object]
    cwd: Path

    def load(self, environ: Mapping[str, str] | None = None) -> Config:
        """Read it. Raises `ConfigError`."""
        return load(self.path, self.overrides, os.environ if environ is None else environ, self.cwd)


def kinds() -> Kinds:
    """Tell the configuration which packages there are."""
    return Kinds(
        {
            name: PackageKind(
                default_ttl_s=format_.default_ttl_s,
                types=TYPES.get(name, ("remote",)),
                adoptable=name in ADOPTABLE,
                mirrors=name == DOCKER,
                takes_digests=name == GENERIC,
                takes_lists=name == RPM,
            )
            for name, format_ in FORMATS.items()
        }
    )


def load(path: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Config:
    """Read the configuration with the packages of this version. Raises `ConfigError`."""
    return load_config(path, environ=environ, overrides=overrides, cwd=cwd, kinds=kinds())
