"""Clients pointed at the pond: their settings told, installed and taken back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from millpond import connect
from millpond.app.adopting import adopt, pond_of
from millpond.app.guide import base_url
from millpond.app.reaching import missing
from millpond.app.sourcing import Source
from millpond.config import HUB, Config, with_adopted
from millpond.connect import apk, apt, containers, dnf, saved
from millpond.connect.lists import Kit
from millpond.errors import MillpondError, NotFound

LISTS: Mapping[str, tuple[Kit, str, str]] = {
    apk.NAME: (apk, "alpine", "apk update"),
    apt.NAME: (apt, "debian", "apt-get update"),
    dnf.NAME: (dnf, "rpm", "dnf makecache"),
}
"""Tools whose package lists are the machine's: what they install, and what is done after a change."""
NO_CHANGE = "nothing to change: no list has an address that this pond draws from"


def connected(source: Source, tools: Iterable[str], url: str | None, *, write: bool) -> list[str]:
    """Tell or install the settings of clients; gives what to print.

    Without `url` a pond must answer where `source` says, before anything is written. Raises `Conflict`, `NotFound`.
    """
    config = source.load()
    found = adopt(config, config.server.data)
    config = with_adopted(config, found)
    where = url or base_url(config)
    if write and url is None and (reason := missing(where)) is not None:
        raise NotFound(f"no pond answers at {where} ({reason}): start it (`millpond serve`), or give --url")
    upstreams = [settings.base_url for settings in config.repositories.values() if settings.base_url]
    engines = [tool for tool in tools if tool in connect.ENGINES]
    told = _engines(engines, config, where, write=write) if engines else []
    for tool in (tool for tool in tools if tool in LISTS):
        told += _lists(tool, config, where, write=write)
    tools = [tool for tool in tools if tool not in (*connect.ENGINES, *LISTS)]
    if not tools:
        return told
    named = {settings.package: name for name, settings in reversed([*config.repositories.items()])}
    served = [tool for tool in tools if connect.package_of(tool) in named]
    if not served:
        kinds = " or ".join(sorted({connect.package_of(tool) for tool in tools}))
        raise MillpondError(f"this pond has no {kinds} repository: write one into millpond.toml, or `millpond init`")
    lines = told
    for tool in served:
        repository = named[connect.package_of(tool)]
        if write:
            done = connect.write(tool, where, os.environ, Path.home(), upstreams=upstreams, repository=repository)
            lines += [f"{tool}: {done.file} {'points' if done.changed else 'pointed already'} at the pond", *done.notes]
        else:
            lines += _printed(connect.plan(tool, where, os.environ, Path.home(), repository=repository))
    return lines


def taken_back(tool: str) -> list[str]:
    """Take back a tool's settings; gives what to print. Raises `NotFound` when it is not connected, `Conflict`."""
    records = saved.folder(os.environ, Path.home())
    if tool in LISTS:
        files = LISTS[tool][0].undo(records)
    elif tool in connect.ENGINES:
        files = [containers.undo(tool, records)]
    else:
        files = [connect.undo(tool, os.environ, Path.home()).file]
    return [f"{tool}: {file} is as it was before" for file in files]


def all_taken_back() -> Iterator[str]:
    """Take back the settings of every tool that is connected; gives what to print, as it is done.

    One that can't be taken back holds up no other. Raises `NotFound` when none is connected, at the end
    `MillpondError` that tells of each that is connected still.
    """
    failed: list[str] = []
    done = 0
    for tool in (*connect.TOOLS, *LISTS, *connect.ENGINES):
        try:
            told = taken_back(tool)
        except NotFound:
            continue
        except (MillpondError, OSError) as error:
            failed.append(f"{tool} is still connected: {error}")
            continue
        yield from told
        done += 1
    if failed:
        raise MillpondError("\n".join(failed))
    if not done:
        raise NotFound("no client has been connected by `millpond connect --write`; there is nothing to undo")


def _engines(tools: list[str], config: Config, where: str, *, write: bool) -> list[str]:
    """Do the same for container engines, which are pointed at the repository of Docker Hub."""
    records = saved.folder(os.environ, Path.home())
    hubs = [name for name, one in config.repositories.items() if one.mirror_of == HUB]
    if not hubs:
        raise MillpondError(f'this pond has no repository with mirror_of = "{HUB}": write one, or `millpond init`')
    mirror = f"http://{config.server.mirror_listen}" if config.server.mirror_listen else ""
    address = containers.Address(where, mirror, hubs[0])
    lines: list[str] = []
    for tool in tools:
        plan = containers.plan(tool, address)
        if write:
            file, changed = containers.write(tool, address, records)
            lines += [f"{tool}: {file} {'points' if changed else 'pointed already'} at the pond", f"  {plan.after}"]
        else:
            lines += [
                f"{tool}: in {plan.file}:",
                *(f"    {line}" for line in plan.text.splitlines()),
                f"  {plan.after}",
            ]
    return lines


def _lists(tool: str, config: Config, where: str, *, write: bool) -> list[str]:
    """Do the same for the machine's package lists: each address, for the repository that draws from it."""
    records, (kit, package, next_step) = saved.folder(os.environ, Path.home()), LISTS[tool]
    upstreams = {one.base_url: name for name, one in config.repositories.items() if one.package == package}
    if not upstreams:
        raise MillpondError(f"this pond has no {package} repository: write one into millpond.toml, or `millpond init`")
    machine = connect.this_machine(os.environ, Path.home(), pond_of(config))
    if write:
        files, notes = kit.write(machine, where, upstreams, records)
        told = [f"{tool}: {file} points at the pond; next: {next_step}" for file in files]
        return [*(told or [f"{tool}: {NO_CHANGE}"]), *notes]
    changes, notes = kit.plan(machine, where, upstreams)
    lines: list[str] = []
    for change in changes:
        lines += [f"{tool}: {change.file} would be:", *(f"    {line}" for line in change.after.splitlines())]
    return [*(lines or [f"{tool}: {NO_CHANGE}"]), *notes]


def _printed(settings: connect.Settings) -> list[str]:
    variables = [f"  export {name}={value}" for name, value in settings.variables.items()]
    text = [f"    {line}" for line in settings.text.splitlines()]
    return [f"{settings.tool}: {settings.command}", *variables, f"  or in {settings.file}:", *text]
