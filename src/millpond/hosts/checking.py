"""``millpond host check``: what deploys and upkeep need of a host, one by one, and what to do where it is missing."""

from __future__ import annotations

from dataclasses import dataclass

from millpond.hosts import commands
from millpond.hosts.commands import Docker, failure_text
from millpond.hosts.disk import over
from millpond.hosts.inspecting import engine, room
from millpond.hosts.model import Completed, Engine, HostFailed, HostOptions
from millpond.hosts.ports import Host


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at. `advice`: what to do, where it is not `ok`."""

    what: str
    ok: bool
    told: str
    advice: str = ""


_ADVICE = {
    "host-key": "compare its key with the host's own console, then renew its line in the known_hosts file",
    "denied": "put the public key of identity_file into the user's ~/.ssh/authorized_keys there",
    "refused": "see that sshd runs there, and that address and port are right",
    "unknown": 'see that the name in ssh = "..." is right and can be resolved on this machine',
    "unreachable": "see that the network between here and there is up",
    "timeout": "see that the host is up, and that no firewall drops the connection",
    "no-ssh": "install the ssh client on the pond's machine (Debian: openssh-client)",
    "lost": "look into sshd's log there; many connections at once may exceed its MaxStartups",
    "setup": "mend the file that it names, on the pond's machine",
}


async def check(host: Host, options: HostOptions) -> list[Checked]:
    """Look at everything; what can't be looked at without an earlier thing is left out. Never raises `HostFailed`."""
    docker = Docker(options.docker_host)
    found = [await reached(host, options)]
    if not found[0].ok:
        return found
    found.append(await _docker(host, docker, options))
    if not found[-1].ok:
        return found
    try:
        told = await engine(host, docker, options.limits)
    except HostFailed as error:
        return [*found, Checked("disk", False, error.text, "see what `docker info` says there")]
    return [*found, await _disk(host, told, options), await _compose(host, docker, options), _swarm(told)]


async def reached(host: Host, options: HostOptions) -> Checked:
    """Look whether it runs a command at all."""
    local = options.address.local
    what = "local" if local else "ssh"
    try:
        done = await host.run(["uname", "-srm"], timeout_s=options.limits.command_timeout_s)
    except HostFailed as error:
        return Checked(what, False, error.told, _ADVICE.get(error.reason, "try the same with ssh by hand"))
    told = f"{options.address}: {commands.brief(done.out) or failure_text(done)}"
    return Checked(what, done.ok, told, "" if done.ok else "the user's shell there must be a POSIX shell")


async def _docker(host: Host, docker: Docker, options: HostOptions) -> Checked:
    try:
        done = await host.run(docker.version(), timeout_s=options.limits.command_timeout_s)
    except HostFailed as error:
        return Checked("docker", False, error.told, "see whether the engine there hangs")
    if not done.ok:
        return Checked("docker", False, f"rc={done.rc}: {failure_text(done)}", _docker_advice(done))
    try:
        client, server = commands.read_versions(done.out)
    except commands.Unreadable as error:
        return Checked("docker", False, str(error), "see what `docker version` says there")
    return Checked("docker", True, f"client {client}, engine {server}")


def _docker_advice(done: Completed) -> str:
    said = done.err.lower()
    if "permission denied" in said:
        return "let the user use the engine there: usermod -aG docker USER, then connect anew"
    if "cannot connect" in said or "is the docker daemon running" in said:
        return "start the engine there (systemctl start docker), or set docker_host to its socket"
    return "install Docker there (Debian: docker.io), or put it into the PATH of a non-interactive shell"


async def _disk(host: Host, told: Engine, options: HostOptions) -> Checked:
    try:
        found = await room(host, told.root, options.limits)
    except HostFailed as error:
        return Checked("disk", False, error.told, f"see what `df -P {told.root}` says there")
    inodes = f", inodes {found.inodes.percent:.0f} %" if found.inodes else ""
    said = f"{told.root}: {found.bytes.percent:.0f} % used{inodes}"
    full = over(found, options.disk)
    return Checked("disk", not full, said, "`millpond host disk --dry-run` shows what can go" if full else "")


async def _compose(host: Host, docker: Docker, options: HostOptions) -> Checked:
    last = Completed(1)
    for argv in docker.compose():
        try:
            last = await host.run(argv, timeout_s=options.limits.command_timeout_s)
        except HostFailed as error:
            return Checked("compose", False, error.told, "see whether the engine there hangs")
        if last.ok:
            return Checked("compose", True, f"{' '.join(argv[:-2])} {commands.brief(last.out)}")
    advice = "install Docker Compose there (docker-compose-plugin, or docker-compose); apps of kind swarm do without"
    return Checked("compose", False, failure_text(last), advice)


def _swarm(told: Engine) -> Checked:
    role = "manager" if told.manager else "worker"
    if told.swarm == "active":
        return Checked("swarm", True, f"a {role} of a swarm")
    return Checked("swarm", True, f"{told.swarm}: no matter for apps of kind compose (`docker swarm init` makes one)")
