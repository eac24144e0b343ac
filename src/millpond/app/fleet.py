"""From the configuration to the hosts' own options."""

from __future__ import annotations

from millpond.config import BuildCacheConfig, Config, DiskConfig, HostConfig
from millpond.hosts.address import parse_address
from millpond.hosts.model import DiskOptions, HostOptions, Limits, Marks, PruneOptions, Rung


def host_options(name: str, host: HostConfig, config: Config) -> HostOptions:
    """Give one host's options, its own upkeep over the common one."""
    return HostOptions(
        name=name,
        address=parse_address(host.ssh),
        labels=tuple(host.labels),
        limits=Limits(
            connect_timeout_s=host.connect_timeout_s,
            command_timeout_s=host.command_timeout_s,
            max_sessions=host.max_sessions,
        ),
        identity_file=host.identity_file,
        known_hosts=host.known_hosts,
        accept_new_keys=host.host_keys == "accept-new",
        docker_host=host.docker_host,
        prune=prune_options(config.build_cache_of(host)),
        disk=disk_options(config.disk_of(host)),
    )


def prune_options(table: BuildCacheConfig) -> PruneOptions:
    """Give the pruner's options."""
    return PruneOptions(**{key: getattr(table, key) for key in BuildCacheConfig.model_fields})


def disk_options(table: DiskConfig) -> DiskOptions:
    """Give the watchdog's options."""
    return DiskOptions(
        enabled=table.enabled,
        interval_s=table.interval_s,
        bytes=Marks(table.high_percent, table.low_percent),
        inodes=Marks(table.high_inodes_percent, table.low_inodes_percent),
        cooldown_s=table.cooldown_s,
        rungs=frozenset(rung for rung in Rung if getattr(table, rung.value)),
        timeout_s=table.timeout_s,
        until=table.build_cache_until,
        image_min_age_s=table.image_min_age_s,
    )
