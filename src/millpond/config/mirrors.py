"""Repositories that stand for a registry, and the listener that is bound to one of them: what fits together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from millpond.config.fields import HUB
from millpond.config.problems import Problem


def mirror_problems(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find two repositories for one registry, and a listener that has none to be bound to.

    Without any repository they are adopted; then Docker Hub's is among them, if there is a Docker to adopt it from.
    """
    repositories, server = table.get("repositories"), table.get("server")
    tables = repositories if isinstance(repositories, Mapping) else {}
    standing: dict[str, str] = {}
    for name, one in tables.items():
        host = _stands_for(one) if isinstance(one, Mapping) else None
        if not isinstance(host, str) or not host:
            continue
        if host in standing:
            text = f'"{host}" is what [repositories.{standing[host]}] stands for; only one repository can'
            yield Problem(("repositories", name, "mirror_of"), text)
        standing.setdefault(host, name)
    listen = server.get("mirror_listen") if isinstance(server, Mapping) else None
    if not listen:
        return
    if tables and HUB not in standing:
        text = f'no repository stands for Docker Hub; write mirror_of = "{HUB}" into the one that does'
        yield Problem(("server", "mirror_listen"), text)
    if isinstance(server, Mapping) and str(listen).rpartition(":")[2] == str(server.get("port", 8080)) != "0":
        yield Problem(("server", "mirror_listen"), "its port is that of [server] port; choose another one")


def _stands_for(repository: Mapping[str, Any]) -> Any:
    """Give the registry's name; an adopted one is Docker Hub's unless it says otherwise."""
    adopted = repository.get("package") == "docker" and repository.get("base_url") == "adopt"
    return repository.get("mirror_of", HUB if adopted else None)
