"""What a configuration is: frozen, validated values. A field's name is its key, its description is its documentation.

Attributes carry the units of their keys (``_s`` seconds); sizes are bytes whatever unit they were written in. Unknown
keys are refused. Nothing below this floor sees these classes: `app` gives each area its own options.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, model_validator

from millpond.config import fields as f
from millpond.config.apps import AppConfig
from millpond.config.delivery import DeliveryConfig, ForgeConfig, ProjectConfig, TrackerConfig
from millpond.config.fields import HUB
from millpond.config.hosts import BuildCacheConfig, DiskConfig, HostConfig, NotifyConfig, UpkeepConfig
from millpond.config.table import Table, about

MASK = "********"
UPSTREAM_KEYS = (
    "connect_timeout_s",
    "read_timeout_s",
    "max_connections",
    "patience_s",
    "max_redirects",
    "circuit_failures",
    "circuit_open_s",
    "circuit_max_open_s",
)


class ServerConfig(Table):
    """Where the daemon listens, and where it keeps its data."""

    host: f.Host = about("127.0.0.1", "The address to listen on.")
    port: f.Port = about(8080, "The port to listen on; 0 takes a free one.")
    data: f.Location = about(Path("millpond-data"), "Catalog, spool, tokens, backups. Always on a local disk.")
    public_url: f.PublicUrl = about("", "The address in rewritten URLs. Empty: the one that the client used.")
    mirror_listen: f.Listen = about(
        "", "A second address (HOST:PORT) for Docker Engines' registry-mirrors: the repository of docker.io."
    )
    workers: Annotated[int, Field(ge=1, le=64)] = about(1, "Worker processes.")
    trusted_proxies: f.Networks = about((), "Networks of proxies whose X-Forwarded-Host and -Proto are believed.")
    drain_timeout_s: f.SecondsOrZero = about(30.0, "How long a stop waits for running transfers.")
    log_format: Literal["auto", "json", "text"] = about("auto", "auto: text on a terminal, else json.")
    log_level: Literal["debug", "info", "warning", "error"] = about("info", "The least that is logged.")


class AccessConfig(Table):
    """Who may do what without a token."""

    anonymous: Literal["read", "none"] = about("read", "What callers without a token may do.")
    allow_open_network: bool = about(default=False, description="Serve off loopback although reading is open.")


class StorageConfig(Table):
    """Where artifacts are kept, and how much of them."""

    url: f.StorageUrl = about("", "A folder, as file:PATH. Empty: the folder storage under server.data.")
    max_size: Annotated[f.Size, Field(gt=0)] | None = about(None, "The most that is kept. Unset: what the disk holds.")
    high_watermark: f.Fraction = about(0.95, "Eviction begins above this fraction of max_size ...")
    low_watermark: f.Fraction = about(0.85, "... and ends below this one.")
    collect_interval_s: f.Seconds = about(300.0, "How often unused objects are looked for.")
    collect_grace_s: f.SecondsOrZero = about(3600.0, "How long an unused object is kept before it is removed.")
    keep_free: f.Size = about(256 << 20, "With less free disk than this, new objects pass through uncached.")


class DatabaseConfig(Table):
    """The catalog's database."""

    url: f.DatabaseUrl = about("sqlite", "The database.")
    backup_interval_s: f.Seconds = about(3600.0, "How often the catalog is backed up.")
    backups_kept: f.Count = about(3, "How many backups are kept.")


class UsageConfig(Table):
    """The records of who was given what."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] = about(90, "How long usage records are kept.")


class UpstreamConfig(Table):
    """How upstreams are asked; each key can be set for one repository too."""

    connect_timeout_s: f.Seconds = about(10.0, "How long a connection may take to open.")
    read_timeout_s: f.Seconds = about(30.0, "How long an upstream may be silent.")
    max_connections: f.Count = about(32, "Connections to one upstream at a time.")
    patience_s: f.Seconds = about(10.0, "How long a refetch may take before a good stale copy is served.")
    max_redirects: Annotated[int, Field(ge=0, le=20)] = about(5, "Redirects followed for one request.")
    circuit_failures: f.Count = about(5, "After so many failures in a row an upstream is left alone ...")
    circuit_open_s: f.Seconds = about(10.0, "... for this long at first ...")
    circuit_max_open_s: f.Seconds = about(300.0, "... and at most for this long.")


class RepositoryConfig(Table):
    """One repository."""

    package: str = about(..., "Which kind of package it holds.")
    type: str = about("remote", "remote: a cache of an upstream; local: uploads are kept here.")
    base_url: f.BaseUrl = about("", "The upstream's address; \"adopt\": what this machine's own clients use.")
    mirror_of: f.RegistryHost = about(
        "", "docker: the registry that it stands for, such as docker.io. Empty: its own host."
    )
    immutable_patterns: f.Patterns = about((), "RE2 patterns of the paths that are served. Empty: all.")
    mutable_patterns: f.Patterns = about((), "RE2 patterns of more mutable paths than the package's own.")
    mutable_ttl_s: f.SecondsOrZero | None = about(None, "How long mutable paths are fresh. Unset: the upstream says.")
    check_mutable_updates: bool = about(
        default=False, description="Ask conditionally when a mutable path is not fresh any more."
    )
    negative_ttl_s: f.SecondsOrZero = about(30.0, "How long the upstream's 404 is remembered.")
    username: f.Secret | None = about(None, "Credentials for the upstream; they are sent to its own address only.")
    password: f.Secret | None = about(None, "As username.")
    trusted_origins: f.Origins = about((), "Other origins of this upstream's files that may have private addresses.")
    digests: Mapping[str, f.Sha256] = Field(default_factory=dict, description="The digest that a path must have.")
    allow_overwrite: bool = about(default=False, description="Uploads may replace a file by other bytes.")
    max_upload: Annotated[f.Size, Field(gt=0)] = about(4 << 30, "The largest upload.")
    connect_timeout_s: f.Seconds | None = None
    read_timeout_s: f.Seconds | None = None
    max_connections: f.Count | None = None
    patience_s: f.Seconds | None = None
    max_redirects: Annotated[int, Field(ge=0, le=20)] | None = None
    circuit_failures: f.Count | None = None
    circuit_open_s: f.Seconds | None = None
    circuit_max_open_s: f.Seconds | None = None
    _found_in: str = PrivateAttr(default="")

    @model_validator(mode="before")
    @classmethod
    def _adopted_ones_check(cls, table: Any) -> Any:
        if isinstance(table, Mapping) and table.get("base_url") == "adopt":
            standing = {"mirror_of": HUB} if table.get("package") == "docker" else {}
            return {"check_mutable_updates": True, **standing, **table}
        return table

    @property
    def found_in(self) -> str:
        """Where an adopted address came from; empty: it was written in the configuration."""
        return self._found_in

    def adopting(self, base_url: str, found_in: str, username: str, password: str) -> Self:
        """Give the same repository with an adopted address; credentials of the configuration win over adopted ones."""
        update: dict[str, object] = {"base_url": base_url}
        if self.username is None and self.password is None:
            update["username"] = SecretStr(username) if username else None
            update["password"] = SecretStr(password) if password else None
        copy = self.model_copy(update=update)
        copy._found_in = found_in  # noqa: SLF001 - a private attribute of our own class; the copy is not shared yet
        return copy


class Config(Table):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    access: AccessConfig = AccessConfig()
    storage: StorageConfig = StorageConfig()
    database: DatabaseConfig = DatabaseConfig()
    usage: UsageConfig = UsageConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    upkeep: UpkeepConfig = UpkeepConfig()
    notify: NotifyConfig = NotifyConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    tracker: TrackerConfig = TrackerConfig()
    forge: ForgeConfig = ForgeConfig()
    pipeline: Mapping[str, Any] = Field(default_factory=dict, description="The pipeline of projects without one.")
    repositories: Mapping[str, RepositoryConfig] = Field(default_factory=dict)
    hosts: Mapping[str, HostConfig] = Field(default_factory=dict)
    apps: Mapping[str, AppConfig] = Field(default_factory=dict)
    projects: Mapping[str, ProjectConfig] = Field(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong and is ignored: only where a mistake must not stop the start."""
        return self._warnings

    def warned(self, warnings: tuple[str, ...]) -> Self:
        """Give the same configuration with what was ignored in it."""
        copy = self.model_copy()
        copy._warnings = warnings  # noqa: SLF001 - a private attribute of our own class; the copy is not shared yet
        return copy

    @property
    def storage_path(self) -> Path:
        """The folder of stored artifacts."""
        if not self.storage.url:
            return self.server.data / "storage"
        return Path(self.storage.url.removeprefix("file:"))

    def upstream_of(self, repository: RepositoryConfig) -> UpstreamConfig:
        """Give how this repository's upstream is asked: its own keys over those of [upstream]."""
        own = {key: getattr(repository, key) for key in UPSTREAM_KEYS if getattr(repository, key) is not None}
        return self.upstream.model_copy(update=own)

    def build_cache_of(self, host: HostConfig) -> BuildCacheConfig:
        """Give how a host's build cache is pruned: its own keys over those of [upkeep.build_cache]."""
        return self.upkeep.build_cache.model_copy(update=_set(host.build_cache))

    def disk_of(self, host: HostConfig) -> DiskConfig:
        """Give how a host's disk is watched: its own keys over those of [upkeep.disk]."""
        return self.upkeep.disk.model_copy(update=_set(host.disk))

    def masked(self) -> dict[str, Any]:
        """Give the configuration for people's eyes, as JSON values: secrets are masked."""
        return _masked(self)


def _set(table: Table) -> dict[str, Any]:
    return {key: value for key in type(table).model_fields if (value := getattr(table, key)) is not None}


def _masked(table: BaseModel) -> dict[str, Any]:
    shown = {name: _shown(getattr(table, name)) for name in type(table).model_fields}
    if isinstance(table, RepositoryConfig):
        shown["found_in"] = table.found_in
    return shown


def _shown(value: Any) -> Any:
    match value:
        case SecretStr():
            return MASK
        case BaseModel():
            return _masked(value)
        case Mapping():
            return {str(key): _shown(item) for key, item in value.items()}
        case tuple() | list():
            return [_shown(item) for item in value]
        case None | bool() | int() | float():
            return value
    return str(value)
