"""Asks the machine that an app's files lie on what they come to: by compose, or by `docker stack`.

Each command runs in the app's folder and in a clean environment: PATH, HOME and docker's own configuration, and nothing
that would win over the app's ``.env``. The two shell scripts here are constant; all words are arguments of theirs, and
what variables hold comes by standard input, quoted, so that no list of processes shows it. Names that a shell has for
itself (UID, OPTIND) it can't be made to set: env(1) sets those.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from functools import partial

from millpond.hosts import dotenv, stacks
from millpond.hosts.apps import AppFailed, AppKind, AppOptions, Resolved
from millpond.hosts.commands import Argv, Docker
from millpond.hosts.compose import check_version, config, read_config, read_variables, unset, variables
from millpond.hosts.masking import Mask
from millpond.hosts.model import Completed, Limits
from millpond.hosts.ports import Host
from millpond.hosts.refusals import NO_NAME, named, told

NO_FOLDER = 66
"""What the script ends with where there is no such folder (sysexits.h: EX_NOINPUT)."""
_CLEAN = 'exec env -i PATH="$PATH" HOME="$HOME" ${DOCKER_CONFIG:+DOCKER_CONFIG="$DOCKER_CONFIG"} sh -c "$@"'
_THERE = f'cd -- "$1" || exit {NO_FOLDER}; shift; set -a; eval "$(cat)"; set +a; exec "$@" </dev/null'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


async def resolve(
    host: Host, app: AppOptions, *, limits: Limits | None = None, over: Mapping[str, str] | None = None
) -> Resolved:
    """Resolve an app on the machine that its files lie on.

    `over` are variables that win over its .env (``--set``). Raises `AppFailed` where the files are wrong, `HostFailed`
    where the machine can't be asked.
    """
    machine = _Machine(host, app, limits or Limits(), dict(over or {}))
    for name, value in machine.over.items():
        if not _NAME.fullmatch(name) or stacks.reserved(name) or "\0" in value:
            raise AppFailed(app.name, f"{name[:80]!r} can't be set: no variable's name, or one that programs need")
    try:
        return await (_stack(machine) if app.kind is AppKind.SWARM else _compose(machine))
    except AppFailed as error:  # names of files too may hold what a variable does
        raise AppFailed(app.name, machine.mask(error.text)) from None


class _Machine:
    """Where an app's files lie."""

    def __init__(self, host: Host, app: AppOptions, limits: Limits, over: dict[str, str]) -> None:
        self.host, self.app, self.over = host, app, over
        self.mask = Mask(over)
        """Of the variables that are known so far."""
        self.limits = limits

    async def run(self, argv: Argv, variables: Mapping[str, str]) -> Completed:
        """Run a command in the app's folder, with these variables and no others."""
        own = tuple(f"{name}={value}" for name, value in variables.items() if stacks.of_shells(name))
        argv = ("env", *own, *argv) if own else argv
        words = ("sh", "-c", _CLEAN, "sh", _THERE, "sh", self.app.path, *argv)
        rest = ((name, value) for name, value in variables.items() if not stacks.of_shells(name))
        given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in rest)
        done = await self.host.run(
            words, timeout_s=self.limits.command_timeout_s, stdin=given.encode("utf-8", "surrogateescape")
        )
        if done.rc == NO_FOLDER:
            raise AppFailed(self.app.name, f"there is no folder {self.app.path} on {self.where}")
        return done

    def called(self, file: str) -> str:
        """Name a file, for people; one of COMPOSE_FILE, which a variable may have named, only if it is like one."""
        known = (*self.app.files, self.app.env_file, ".env", *stacks.USUAL)
        name = file if file in known else named(file)
        return "a file of COMPOSE_FILE" if name == NO_NAME else name

    @property
    def where(self) -> str:
        """The machine, for people."""
        return f"the host {self.app.on}" if self.app.on else "the pond's machine"


async def compose_program(host: Host, docker: Docker, limits: Limits) -> Argv:
    """Find compose: the docker client's plug-in, else the program that stands alone. Empty: there is none."""
    for argv in docker.compose():
        done = await host.run(argv, timeout_s=limits.command_timeout_s)
        if done.ok and done.out.strip():
            check_version(done.out)
            return argv[:-2]
    return ()


async def _compose(machine: _Machine) -> Resolved:
    app = machine.app
    try:
        program = await compose_program(machine.host, Docker(), machine.limits)
    except ValueError as error:
        raise AppFailed(app.name, f"on {machine.where}: {error}") from None
    if not program:
        text = f"there is no Docker Compose on {machine.where}; install docker-compose-plugin, or docker-compose"
        raise AppFailed(app.name, text)
    if "-" in app.files:
        raise AppFailed(app.name, "a file that is called - would be standard input; write ./-")
    done = await machine.run(config(program, app), machine.over)
    names: frozenset[str] = frozenset()
    if unset(done):
        asked = await machine.run(variables(program, app), machine.over)
        names = await asyncio.to_thread(read_variables, asked)
    return await asyncio.to_thread(partial(read_config, done, app, names))


async def _stack(machine: _Machine) -> Resolved:
    app = machine.app
    text = await _text(machine, app.env_file or ".env", needed=bool(app.env_file))
    try:
        env = await asyncio.to_thread(dotenv.read, text or "", machine.over)
        machine.mask = await asyncio.to_thread(Mask, env)
    except dotenv.Wrong as error:
        raise AppFailed(app.name, f"{app.env_file or '.env'}: {error}") from None
    files = stacks.stack_files(env, app)
    if not files:
        files = await _usual(machine)
    for file in files:
        content = await _text(machine, file, needed=True)
        await asyncio.to_thread(stacks.check_file, machine.called(file), content or "", env, app)
    argv = ("docker", "stack", "config", *(f"--compose-file={file}" for file in files))
    done = await machine.run(argv, stacks.handed_on(env))
    return await asyncio.to_thread(stacks.read_stack, done, app)


async def _usual(machine: _Machine) -> tuple[str, ...]:
    for name in stacks.USUAL:
        if await _text(machine, name, needed=False) is not None:
            return (name,)
    text = f"no stack file in {machine.app.path} on {machine.where}: write files, or COMPOSE_FILE in its .env"
    raise AppFailed(machine.app.name, text)


async def _text(machine: _Machine, name: str, *, needed: bool) -> str | None:
    """Read one of the app's files; None: it is not there, and need not be. Raises `AppFailed`."""
    done = await machine.run(("cat", "--", name if name != "-" else "./-"), {})
    name = machine.called(name)
    if done.truncated:
        raise AppFailed(machine.app.name, f"{name} is too long")
    if done.ok and "\ufffd" in done.out:
        raise AppFailed(machine.app.name, f"{name} is not text in UTF-8 (or has U+FFFD in it): write it so")
    if done.ok:
        return done.out
    if needed or "no such file" not in done.err.lower():
        raise AppFailed(machine.app.name, f"{name} can't be read on {machine.where}: {told(done)}")
    return None
