"""What sets a pond up: a first configuration file, and a check of everything."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from millpond.adapters.localhost import LocalHost
from millpond.adapters.ssh import Connections, SshHost
from millpond.adopt import Adopted, Skipped
from millpond.app.adopting import adopt, passed_over
from millpond.app.fleet import host_options
from millpond.app.loading import DEBIAN, DOCKER, PYPI, upstream_of
from millpond.app.sourcing import Source, load
from millpond.app.trying import Tried, try_counterparts
from millpond.clock import SystemClock
from millpond.config import Config, find, init_text, looked_for, open_network_problem, with_adopted
from millpond.errors import Conflict, UpstreamUnreachable
from millpond.hosts.checking import reached

REFUSED = (401, 403)
ABSENT = (404, 410)
SERVER_ERROR = 500
HOSTS_AT_ONCE = 8


def initialise(file: Path, data: Path | None, *, look_again: bool, force: bool) -> list[str]:
    """Write the first configuration file. `look_again`: renew what is adopted, and leave a present file as it is.

    Gives what was done, in words. Raises `Conflict` when a file is there already, `ConfigError`, `OSError`.
    """
    overrides = {"server.data": str(data)} if data else {}
    there = file.exists()
    if there and not (look_again or force):
        raise Conflict(f"{file} is there already: --force replaces it, --adopt only looks again at what clients use")
    config = load(file if there and not force else None, overrides, os.environ, Path.cwd())
    found = adopt(config, config.server.data, renew=look_again)
    told = [_found(one) for one in found]
    if there and not force:
        return [*told, f"{file} was left as it is"]
    file.write_text(init_text(config, found, folder=file.resolve().parent))
    return [*told, f"wrote {file}; next: millpond check, then millpond serve"]


def _found(one: Adopted | Skipped) -> str:
    if isinstance(one, Adopted):
        return f"adopted {one.repository}: {one.base_url} (found in {one.found_in})"
    return f"not adopted: {one.package}: {one.reason}"


async def try_everything(source: Source) -> list[Tried]:
    """Validate the configuration, then ask each upstream once. Raises `ConfigError` for what can't be tried at all."""
    config = source.load()
    problem = open_network_problem(config)
    results = [Tried("configuration", problem is None, problem or _valid(source))]
    results += [Tried("configuration", ok=True, told=warning) for warning in config.warnings]
    found = await asyncio.to_thread(adopt, config, config.server.data)
    results += [Tried(package, ok=True, told=f"not adopted: {reason}") for package, reason in passed_over(found)]
    config = with_adopted(config, found)
    remotes = [name for name, settings in config.repositories.items() if settings.type == "remote"]
    results += await asyncio.gather(*(_try(name, config) for name in remotes))
    results += [Tried(name, ok=True, told="local") for name in config.repositories if name not in remotes]
    return [*results, *await _try_hosts(config), *await try_counterparts(config)]


def _valid(source: Source) -> str:
    """Say which file was read; that there is none is no mistake, but it may be where nobody looks."""
    file = find(source.path, source.cwd)
    if file is not None:
        return f"{file} is valid"
    places = " nor ".join(str(place) for place in looked_for(source.cwd))
    return f"valid without a file: neither {places} is there (`millpond init` writes one)"


async def _try_hosts(config: Config) -> list[Tried]:
    """Run one command on each host, some at a time; their sockets lie in a folder of this command's own."""
    turn = asyncio.Semaphore(HOSTS_AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="millpond-") as folder:
        connections = Connections(Path(folder))

        async def one(name: str) -> Tried:
            options = host_options(name, config.hosts[name], config)
            host = LocalHost(options) if options.address.local else SshHost(options, connections)
            async with turn:
                found = await reached(host, options)
                await host.close()
            return Tried(f"host {name}", found.ok, f"{found.told}; {found.advice}" if found.advice else found.told)

        return list(await asyncio.gather(*map(one, config.hosts)))


async def _try(name: str, config: Config) -> Tried:
    settings = config.repositories[name]
    upstream = upstream_of(name, settings, config, SystemClock())
    root = upstream.base_url + ("v2/" if settings.package == DOCKER else "")
    try:
        async with upstream.request("GET" if settings.package == DOCKER else "HEAD", root, {"Accept": "*/*"}) as reply:
            status = reply.head.status
    except UpstreamUnreachable as error:
        return Tried(name, ok=False, told=str(error))
    finally:
        await upstream.close()
    ok, meant = judged(settings.package, upstream.base_url, status)
    return Tried(name, ok=ok, told=f"{upstream.base_url} answers {status}{meant}")


def judged(package: str, base_url: str, status: int) -> tuple[bool, str]:
    """Say whether an upstream's answer at its base URL is a good one, and what it means, to be put behind it."""
    if status in REFUSED:
        return False, ": set username and password"
    if status not in ABSENT:
        return status < SERVER_ERROR, ""
    url = base_url.rstrip("/")
    if package == PYPI:
        ends = url.endswith("/simple")
        return False, ": there is no index there" + ("" if ends else "; the address of one ends in /simple")
    if package == DEBIAN:
        archive, dists, _ = f"{url}/".partition("/dists/")
        return False, ": there is no archive there" + (f"; leave out /dists: {archive}" if dists else "")
    if package == DOCKER:
        return False, ": there is no registry there (/v2/)"
    return (
        True,
        ": nothing is listed there, which may be right; whether its files are there shows when one is asked for",
    )
