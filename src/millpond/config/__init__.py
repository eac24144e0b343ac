"""TOML, environment and command line -> one frozen, validated `Config`.

Unknown keys are refused with the nearest known one; all mistakes of a file are reported at once, one line each. Kinds
of package are handed in, so that the configuration knows no format's code. Nothing below this floor reads settings.
"""

from __future__ import annotations

from millpond.config.adopting import packages_to_adopt, with_adopted
from millpond.config.apps import AppConfig, HealthConfig
from millpond.config.checks import RESERVED, Kinds, PackageKind
from millpond.config.delivery import DeliveryConfig, ForgeConfig, ProjectConfig, TrackerConfig
from millpond.config.fields import HUB
from millpond.config.hosts import BuildCacheConfig, DiskConfig, HostConfig, NotifyConfig, UpkeepConfig
from millpond.config.loading import load, open_network_problem
from millpond.config.model import (
    AccessConfig,
    Config,
    DatabaseConfig,
    RepositoryConfig,
    ServerConfig,
    StorageConfig,
    UpstreamConfig,
    UsageConfig,
)
from millpond.config.sources import find, looked_for
from millpond.config.starter import init_text
from millpond.config.units import format_size, parse_duration, parse_size

__all__ = [
    "HUB",
    "RESERVED",
    "AccessConfig",
    "AppConfig",
    "BuildCacheConfig",
    "Config",
    "DatabaseConfig",
    "DeliveryConfig",
    "DiskConfig",
    "ForgeConfig",
    "HealthConfig",
    "HostConfig",
    "Kinds",
    "NotifyConfig",
    "PackageKind",
    "ProjectConfig",
    "RepositoryConfig",
    "ServerConfig",
    "StorageConfig",
    "TrackerConfig",
    "UpkeepConfig",
    "UpstreamConfig",
    "UsageConfig",
    "find",
    "format_size",
    "init_text",
    "load",
    "looked_for",
    "open_network_problem",
    "packages_to_adopt",
    "parse_duration",
    "parse_size",
    "with_adopted",
]
