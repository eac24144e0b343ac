"""A network namespace whose only way out is this machine's side of one veth pair: for clients that must use the pond.

Inside there is no default route and no name server; the pond listens on `address`, and fake upstreams on 127.0.0.1 of
the machine, which from inside is somebody else's loopback. Whoever listens on all of this machine's addresses can be
reached too: clients are given an environment of their own, so that they know of nobody.

Needs root and `ip` (iproute2). Names carry the process id: parallel runs do not meet, and what a killed run left is
found and removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "mpjail"
NETWORKS = list(ipaddress.ip_network("10.213.0.0/16").subnets(new_prefix=30))
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


class Impossible(Exception):
    """Why this machine can't make a jail."""


@dataclass(frozen=True, slots=True)
class Jail:
    """One namespace; `address` is this machine's side of it."""

    name: str
    address: str

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Make a command that runs inside."""
        return [_ip_path(), "netns", "exec", self.name, *argv]

    def entering(self, argv: Sequence[str]) -> list[str]:
        """Make a command that has the network of the inside, and all else of this machine (a daemon with cgroups)."""
        return ["nsenter", f"--net=/var/run/netns/{self.name}", "--", *argv]

    def run(
        self, argv: Sequence[str], *, environ: Mapping[str, str], cwd: Path, timeout_s: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, with no variables but these; its output is text, its failure an answer."""
        return subprocess.run(
            self.argv(argv),
            env=dict(environ),
            cwd=cwd,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@contextlib.contextmanager
def jail() -> Iterator[Jail]:
    """Make a jail and remove it. Raises `Impossible` with the reason."""
    if os.geteuid() != 0:
        raise Impossible("a network namespace takes root")
    _ip_path()
    sweep()
    name = f"{PREFIX}{os.getpid()}"
    with _alone():
        try:
            address = _build(name)
        except BaseException:
            _remove(name)
            raise
    try:
        yield Jail(name, address)
    finally:
        _remove(name)


def _build(name: str) -> str:
    """Make the namespace and the pair; gives the outer address."""
    try:
        _ip("netns", "add", name)
        outer, inner = _free_pair()
        _ip("link", "add", _outer(name), "type", "veth", "peer", "name", "inner", "netns", name)
        _ip("addr", "add", f"{outer}/30", "dev", _outer(name))
        _ip("-n", name, "addr", "add", f"{inner}/30", "dev", "inner")
        for where, link in (((), _outer(name)), (("-n", name), "inner"), (("-n", name), "lo")):
            _ip(*where, "link", "set", link, "up")
    except subprocess.CalledProcessError as error:
        raise Impossible(f"this machine lets us make no network namespace: {error.stderr.strip()}") from error
    return outer


def sweep() -> None:
    """Remove the jails of processes that are gone."""
    listed = json.loads(_ip("-j", "netns", "list") or "[]")
    links = json.loads(_ip("-j", "link", "show") or "[]")
    names = {entry["name"] for entry in listed} | {link["ifname"] for link in links}
    for name in names:
        pid = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and pid.isdigit() and not Path("/proc", pid).exists():
            _remove(name)


def _remove(name: str) -> None:
    """Remove a jail as far as it was built; the outer end of the pair goes with the inner one."""
    for words in (("link", "del", _outer(name)), ("netns", "del", name)):
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip(*words)


def _outer(name: str) -> str:
    return name  # at most 6 + 7 of the 15 characters that an interface's name may have


def _free_pair() -> tuple[str, str]:
    """Find a network that no interface has."""
    ours: list[dict[str, Any]] = json.loads(_ip("-j", "-4", "addr", "show"))
    taken = {ipaddress.ip_address(one["local"]) for link in ours for one in link.get("addr_info", [])}
    for network in NETWORKS:
        if not any(address in network for address in taken):
            outer, inner = network.hosts()
            return str(outer), str(inner)
    raise Impossible("every network for jails is taken")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other process choose a network at the same time."""
    with Path(tempfile.gettempdir(), f"{PREFIX}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ip(*words: str) -> str:
    return subprocess.run([_ip_path(), *words], capture_output=True, text=True, check=True, timeout=60).stdout


def _ip_path() -> str:
    found = shutil.which("ip", path=PATH)
    if found is None:
        raise Impossible("`ip` (Debian: iproute2) is not installed")
    return found
