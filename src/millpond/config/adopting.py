"""Where the configuration leaves the upstream to the machine: what was adopted becomes repositories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from millpond.adopt import Adopted, Found, Skipped
from millpond.config.checks import Kinds
from millpond.config.model import Config, RepositoryConfig
from millpond.errors import ConfigError

ADOPT = "adopt"


def packages_to_adopt(config: Config, kinds: Kinds) -> tuple[str, ...]:
    """List the packages whose upstreams are the machine's own: all that can be, in a configuration of no repository."""
    if not config.repositories:
        return tuple(sorted(name for name, kind in kinds.packages.items() if kind.adoptable))
    return tuple(sorted({one.package for one in config.repositories.values() if one.base_url == ADOPT}))


def with_adopted(config: Config, found: Iterable[Found]) -> Config:
    """Give the configuration with every "adopt" replaced by an address.

    Without any repository each adopted upstream becomes one. Raises `ConfigError` when a repository says "adopt" and
    there is nothing to adopt.
    """
    found = tuple(found)
    adopted = [one for one in found if isinstance(one, Adopted)]
    if not config.repositories:
        repositories = {one.repository: _filled(_fresh(one.package), one) for one in adopted}
        return config.model_copy(update={"repositories": repositories})
    reasons = {one.package: one.reason for one in found if isinstance(one, Skipped)}
    problems = [
        f'[repositories.{name}] base_url: "{ADOPT}": {reasons.get(one.package, "nothing was found")}'
        for name, one in config.repositories.items()
        if one.base_url == ADOPT and _match(name, one, adopted) is None
    ]
    if problems:
        raise ConfigError(*problems)
    return config.model_copy(update={"repositories": _all_filled(config.repositories, adopted)})


def _all_filled(repositories: Mapping[str, RepositoryConfig], adopted: list[Adopted]) -> dict[str, RepositoryConfig]:
    filled = {}
    for name, repository in repositories.items():
        match = _match(name, repository, adopted) if repository.base_url == ADOPT else None
        filled[name] = _filled(repository, match) if match else repository
    return filled


def _fresh(package: str) -> RepositoryConfig:
    return RepositoryConfig(package=package, base_url=ADOPT)


def _filled(repository: RepositoryConfig, one: Adopted) -> RepositoryConfig:
    return repository.adopting(one.base_url, one.found_in, one.username, one.password)


def _match(name: str, repository: RepositoryConfig, adopted: list[Adopted]) -> Adopted | None:
    """Find a repository's upstream: the one adopted under its name, else the only or first one of its package."""
    same = [one for one in adopted if one.package == repository.package]
    return next((one for one in same if one.repository == name), same[0] if same else None)
