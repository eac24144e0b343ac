"""Git, run to its end: closed as `gitargs` says, bounded in time and output, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from millpond.delivery.workspaces.gitargs import environment, git
from millpond.errors import MillpondError

MAX_OUT = 8 << 20
MAX_SAID = 500
GRACE_S = 2.0
"""How long a git that is told to end may tidy up."""
AHEAD = 65536
"""How much of an output is taken before it is asked for; and the size of what is asked for."""


class GitFailed(MillpondError):
    """Git did not do what it was asked."""

    def __init__(self, message: str, rc: int = -1) -> None:
        super().__init__(message)
        self.rc = rc


@dataclass(frozen=True, slots=True)
class Git:
    """How git is called for one repository. `secret` goes into variables only: never into arguments or files."""

    git_dir: str = ""
    work_tree: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    protocols: tuple[str, ...] = ("file",)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings that are secrets, such as ``http.extraHeader``."""
    timeout_s: float = 600.0

    async def __call__(self, *words: str, stdin: bytes | None = None) -> str:
        """Run ``git WORDS...``; gives what it wrote, without the last newline. Raises `GitFailed`."""
        argv = git(*words, git_dir=self.git_dir, work_tree=self.work_tree, config=self.config)
        env = environment(os.environ, protocols=self.protocols, more={**self.variables, **self._secrets()})
        rc, out, err = await _run(argv, env, stdin, self.timeout_s)
        if rc:
            said = self._masked(err.decode("utf-8", "replace")).strip()
            text = " ".join("".join(one if one.isprintable() else " " for one in said).split())
            raise GitFailed(f"git {words[0]}: {text[-MAX_SAID:] or f'rc={rc}'}", rc)
        return out.decode("utf-8", "surrogateescape").rstrip("\n")

    def _secrets(self) -> dict[str, str]:
        made = {"GIT_CONFIG_COUNT": str(len(self.secret))} if self.secret else {}
        for index, (name, value) in enumerate(self.secret.items()):
            made |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
        return made

    def _masked(self, text: str) -> str:
        for value in self.secret.values():
            for part in (value, *value.split()):
                text = text.replace(part, "********") if len(part) >= 8 else text  # noqa: PLR2004 - no word of a language
        return text


async def _run(
    argv: list[str], env: Mapping[str, str], stdin: bytes | None, timeout_s: float
) -> tuple[int, bytes, bytes]:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(AHEAD, loop),
            *argv,
            stdin=null if stdin is None else pipe,
            stdout=pipe,
            stderr=pipe,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise GitFailed(f"git can't be started: {error.strerror}") from error
    process = asyncio.subprocess.Process(transport, protocol, loop)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await _talk(process, stdin)
            return await process.wait(), out, err
    except TimeoutError as error:
        raise GitFailed(f"git took longer than {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:  # else its pid may be another one's by now
            await asyncio.shield(_end(process, transport))
        transport.close()


async def _end(process: asyncio.subprocess.Process, transport: asyncio.SubprocessTransport) -> None:
    """End it and its children; told to, git removes its locks, and what it had half made."""
    _signal(process, signal.SIGTERM)
    _hang_up(transport)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await asyncio.shield(process.wait())
    _signal(process, signal.SIGKILL)  # its group: children that did not hear, and itself
    await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _hang_up(transport: asyncio.SubprocessTransport) -> None:
    """Close the pipes. `wait` waits for their ends, and one that nobody reads, or that an orphan holds, has none."""
    for number in (0, 1, 2):
        if (pipe := transport.get_pipe_transport(number)) is not None:
            pipe.close()


async def _talk(process: asyncio.subprocess.Process, stdin: bytes | None) -> tuple[bytes, bytes]:
    async def give() -> None:
        if stdin is not None and process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(stdin)
                await process.stdin.drain()
            process.stdin.close()

    out, err, _ = await asyncio.gather(_read(process.stdout), _read(process.stderr), give())
    return out, err


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while stream is not None and (piece := await stream.read(AHEAD)):
        size += len(piece)
        if size > MAX_OUT:
            raise GitFailed(f"git wrote more than {MAX_OUT} bytes")
        pieces.append(piece)
    return b"".join(pieces)
