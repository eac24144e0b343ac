"""The tables of the hosts: `[hosts.NAME]`, `[upkeep.*]`, `[notify]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millpond.config import fields as f
from millpond.config.table import Table, about
from millpond.hosts.model import MAX_SESSIONS

Percent = Annotated[float, Field(gt=0, le=100)]


class BuildCacheConfig(Table):
    """The build-cache pruner. A mistake in this table is a warning, and the default holds."""

    enabled: bool = about(default=True, description="false switches it off.")
    interval_s: f.MoreThanZero = about(21600, "How long after a run the next one comes.")
    until: f.Until = about("24h", "Build cache last used longer ago than this goes: s, m, h, d, w; bare: hours.")
    all: bool = about(default=False, description="Internal and shared build cache too (docker's -a).")
    timeout_s: f.MoreThanZero = about(120, "How long one run may take.")
    notify_min_gb: Annotated[float, Field(ge=0)] = about(0, "Tell of runs that reclaim as many GB; 0: never.")


class DiskConfig(Table):
    """The disk watchdog, of each host's Docker data directory and of the pond's own data."""

    enabled: bool = about(default=True, description="false switches it off.")
    interval_s: f.Seconds = about(300, "How often it looks.")
    high_percent: Percent = about(85, "Room is made above this share of the bytes ...")
    low_percent: Percent = about(80, "... until it is below this one.")
    high_inodes_percent: Percent = about(85, "The same for inodes ...")
    low_inodes_percent: Percent = about(80, "... and until here.")
    cooldown_s: f.SecondsOrZero = about(1800, "How long after making room nothing more is removed.")
    build_cache: bool = about(default=True, description="The first rung: build cache.")
    dangling: bool = about(default=True, description="The second rung: images without a name.")
    images: bool = about(default=True, description="The third rung: images that nothing uses and no release needs.")
    pond: bool = about(default=True, description="The pond's own rung: eviction and collection.")
    build_cache_until: f.Until = about("1h", "On its rung, build cache last used longer ago than this goes.")
    image_min_age_s: f.SecondsOrZero = about(3600, "Images pulled or tagged later than that stay.")
    timeout_s: f.Seconds = about(600, "How long one removal may take.")


class OwnBuildCacheConfig(Table):
    """What holds for one host's build cache; unset: what [upkeep.build_cache] says."""

    enabled: bool | None = None
    interval_s: f.MoreThanZero | None = None
    until: f.Until | None = None
    all: bool | None = None
    timeout_s: f.MoreThanZero | None = None
    notify_min_gb: Annotated[float, Field(ge=0)] | None = None


class OwnDiskConfig(Table):
    """What holds for one host's disk; unset: what [upkeep.disk] says."""

    enabled: bool | None = None
    interval_s: f.Seconds | None = None
    high_percent: Percent | None = None
    low_percent: Percent | None = None
    high_inodes_percent: Percent | None = None
    low_inodes_percent: Percent | None = None
    cooldown_s: f.SecondsOrZero | None = None
    build_cache: bool | None = None
    dangling: bool | None = None
    images: bool | None = None
    build_cache_until: f.Until | None = None
    image_min_age_s: f.SecondsOrZero | None = None
    timeout_s: f.Seconds | None = None


class UpkeepConfig(Table):
    """What keeps hosts clean."""

    build_cache: BuildCacheConfig = BuildCacheConfig()
    disk: DiskConfig = DiskConfig()


class NotifyConfig(Table):
    """Where notifications go."""

    urls: f.Secrets = about((), "Apprise URLs, each a secret.")


class HostConfig(Table):
    """One host."""

    ssh: f.SshAddress = about(..., 'user@host:port, or "local" for this machine.')
    labels: f.Labels = about((), "Names that several hosts share.")
    identity_file: f.LocalPath = about("", "The private key. Empty: what ssh's own configuration says.")
    known_hosts: f.LocalPath = about("", "The file of known keys. Empty: the user's and the machine's.")
    host_keys: Literal["known", "accept-new"] = about(
        "known", "accept-new: believe the key of a host that was never seen; a changed one never."
    )
    docker_host: f.EngineSocket = about("", "The engine's socket there, as unix:///path. Empty: docker's default.")
    connect_timeout_s: f.Seconds = about(10, "How long connecting may take.")
    command_timeout_s: f.Seconds = about(60, "How long a question to its engine may take.")
    max_sessions: Annotated[int, Field(ge=1, le=MAX_SESSIONS)] = about(4, "Commands at a time on its connection.")
    build_cache: OwnBuildCacheConfig = OwnBuildCacheConfig()
    disk: OwnDiskConfig = OwnDiskConfig()
