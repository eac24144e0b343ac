"""From the configuration to the hosts' and apps' own options."""

from __future__ import annotations

from millpond.config import BuildCacheConfig, Config, DiskConfig, HostConfig
from millpond.config.fleet import members, pond_address
from millpond.errors import NotFound
from millpond.hosts.address import parse_address
from millpond.hosts.apps import AppOptions, Health, PullFrom
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


def app_options(name: str, config: Config) -> AppOptions:
    """Give one app's options, labels resolved. Raises `NotFound`."""
    app = config.apps.get(name)
    if app is None:
        known = ", ".join(config.apps) or "there is none: write [apps.NAME]"
        raise NotFound(f"there is no app {name!r} in the configuration; known: {known}")
    hosts = members(app.hosts, config.hosts)
    local = all(parse_address(config.hosts[host].ssh).local for host in hosts)
    pond = app.pond or pond_address({"server": config.server.model_dump()}, only_local=local)
    return AppOptions(
        name=name,
        path=app.path,
        hosts=hosts,
        kind=app.kind,
        pull=app.pull,
        on=app.on,
        in_place=hosts == (app.on,) if app.on else local,
        files=app.files,
        env_file=app.env_file,
        profiles=app.profiles,
        pond=pond if app.pull is PullFrom.POND else "",
        health=Health(**{key: getattr(app.health, key) for key in type(app.health).model_fields}),
        parallel=app.parallel,
        pull_timeout_s=app.pull_timeout_s,
        converge_timeout_s=app.converge_timeout_s,
        keep=app.keep,
    )
