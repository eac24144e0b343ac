"""From a configuration to each area's own options: the one place where settings and areas meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from millpond.adapters.mirrors import MirrorUpstream
from millpond.adapters.registry_auth import Credentials, RegistryUpstream
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.artifacts.formats import FORMATS
from millpond.artifacts.formats.base import Format
from millpond.artifacts.formats.docker import Docker
from millpond.artifacts.formats.docker.repository import HUB_NAMESPACE
from millpond.artifacts.formats.rpm.lists import MirrorReader, list_url
from millpond.artifacts.formats.rpm.paths import METALINK, MIRRORLIST
from millpond.artifacts.model import Freshness
from millpond.artifacts.policy import Rules, compile_patterns
from millpond.clock import Clock
from millpond.config import HUB, Config, RepositoryConfig

GENERIC, DOCKER, RPM, PYPI, DEBIAN = "generic", "docker", "rpm", "pypi", "debian"
AnyUpstream = HttpUpstream | MirrorUpstream | RegistryUpstream


def freshness_of(settings: RepositoryConfig, format_: Format) -> Freshness:
    """Give a repository's settings for the freshness decision."""
    return Freshness(
        default_ttl_s=format_.default_ttl_s,
        ttl_s=settings.mutable_ttl_s,
        check_updates=settings.check_mutable_updates,
        negative_ttl_s=settings.negative_ttl_s,
    )


def rules_of(settings: RepositoryConfig) -> Rules:
    """Compile a repository's patterns."""
    return Rules(
        immutable=compile_patterns(settings.immutable_patterns),
        mutable=compile_patterns(settings.mutable_patterns),
        everything_mutable=settings.package == GENERIC,
        bind_mutable=settings.package == DOCKER,
        digests=dict(settings.digests),
    )


def format_of(settings: RepositoryConfig) -> Format:
    """Give a repository's format; on Docker Hub images of one component are those of a namespace."""
    host = urlsplit(settings.base_url).hostname or ""
    hub = HUB in {settings.mirror_of, host} or host.endswith(f".{HUB}")
    if settings.package == DOCKER and hub:
        return Docker(HUB_NAMESPACE)
    return FORMATS[settings.package]


def _base_url(settings: RepositoryConfig) -> str:
    """Give the upstream's URL with a slash; a registry's is often written with the ``/v2`` of its paths.

    That of a list of mirrors is its origin.
    """
    listed = urlsplit(list_url(settings.base_url))
    if listed.netloc:
        return f"{listed.scheme}://{listed.netloc}/"
    url = settings.base_url.rstrip("/")
    return (url.removesuffix("/v2") if settings.package == DOCKER else url) + "/"


def upstream_options(name: str, settings: RepositoryConfig, config: Config) -> UpstreamOptions:
    """Give a remote repository's upstream settings."""
    asked = config.upstream_of(settings)
    return UpstreamOptions(
        name=name,
        base_url=_base_url(settings),
        username=_plain(settings.username),
        password=_plain(settings.password),
        trusted_origins=tuple(settings.trusted_origins),
        connect_timeout_s=asked.connect_timeout_s,
        read_timeout_s=asked.read_timeout_s,
        max_connections=asked.max_connections,
        max_redirects=asked.max_redirects,
        circuit_failures=asked.circuit_failures,
        circuit_open_s=asked.circuit_open_s,
        circuit_max_open_s=asked.circuit_max_open_s,
    )


def upstream_of(name: str, settings: RepositoryConfig, config: Config, clock: Clock) -> AnyUpstream:
    """Make a remote repository's upstream. Raises `ConfigError`."""
    options = upstream_options(name, settings, config)
    mirrors = list_url(settings.base_url)
    if mirrors:
        own = frozenset({METALINK, MIRRORLIST})
        return MirrorUpstream(HttpUpstream(options, clock), mirrors, clock, MirrorReader, own)
    if settings.package != DOCKER:
        return HttpUpstream(options, clock)
    credentials = Credentials(options.username, options.password)
    inner = replace(options, username="", password="") if options.username else options
    return RegistryUpstream(HttpUpstream(inner, clock), credentials, clock)


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def shown(config: Config) -> dict[str, dict[str, Any]]:
    """Give the repositories' settings for people, secrets masked."""
    return dict(config.masked()["repositories"])
