"""Questions to a host's engine that more than one part asks: its data directory, its disk, whether a build runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from millpond.hosts import commands
from millpond.hosts.commands import Docker, Unreadable, brief, failure_text
from millpond.hosts.model import Engine, HostFailed, Kind, Limits, Room
from millpond.hosts.ports import Host

T = TypeVar("T")
KIB = 1024


async def ask(host: Host, argv: Sequence[str], limits: Limits, read: Callable[[str], T]) -> T:
    """Run a command that only asks, and read its output. Raises `HostFailed`, also for an output that is of no use."""
    done = await host.run(argv, timeout_s=limits.command_timeout_s)
    if not done.ok:
        raise HostFailed(host.name, failure_text(done), kind=Kind.TRANSIENT, reason="command", rc=done.rc)
    if done.truncated:
        said = f"`{' '.join(argv[:3])}` answered with more than {limits.max_output_bytes} bytes"
        raise HostFailed(host.name, said, kind=Kind.PERMANENT, reason="unreadable")
    try:
        return read(done.out)
    except Unreadable as error:
        raise HostFailed(host.name, brief(str(error)), kind=Kind.PERMANENT, reason="unreadable") from error


async def engine(host: Host, docker: Docker, limits: Limits) -> Engine:
    """Ask the engine about itself. Raises `HostFailed`."""
    return await ask(host, docker.info(), limits, commands.read_engine)


async def room(host: Host, root: str, limits: Limits) -> Room:
    """Measure the disk of the engine's data directory. Raises `HostFailed`."""
    size = await ask(host, commands.blocks_of(root), limits, lambda out: commands.read_df(out, KIB))
    if size is None:
        raise HostFailed(host.name, f"df knows no size of {root}", kind=Kind.PERMANENT, reason="unreadable")
    return Room(size, await ask(host, commands.inodes_of(root), limits, commands.read_df))


async def free_bytes(host: Host, docker: Docker, limits: Limits) -> int | None:
    """Give the free bytes of the engine's disk; None where they can't be had: what asks goes on without."""
    try:
        root = (await engine(host, docker, limits)).root
        return (await room(host, root, limits)).bytes.available
    except HostFailed:
        return None


async def runs_build(host: Host, docker: Docker, limits: Limits, now: float) -> bool:
    """Whether BuildKit shows a running build: a record of its cache is in use, and not since long (`now`: the time).

    buildx is asked for the builder that is pruned, the engine itself where there is no buildx. Where neither can tell,
    or not in time (an engine adds up its volumes too), the answer is no: BuildKit itself never prunes what is in use,
    and a host that is too full to tell must not stay full. Raises `HostFailed` when the host can't be reached.
    """
    for argv, read in (
        (docker.cache_by_buildx(), commands.builds_by_buildx),
        (docker.cache_by_engine(), commands.builds_by_engine),
    ):
        try:
            return await ask(host, argv, limits, partial(read, now=now))
        except HostFailed as error:
            if error.reason not in {"command", "unreadable", "timeout"}:
                raise
    return False


async def cache_held_bytes(host: Host, docker: Docker, limits: Limits) -> int | None:
    """Give the size of the build cache that no build holds; None where the engine does not tell."""
    try:
        return await ask(host, docker.cache_by_engine(), limits, commands.cache_size)
    except HostFailed as error:
        if error.reason in {"command", "unreadable"}:
            return None
        raise
