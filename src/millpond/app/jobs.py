"""A job's own access to the pond: a short-lived token, and settings of its clients in the HOME of its run.

The token's name holds the task's key, and usage records hold the token's name: so it is on record which task drew what.
It may read, and no more; it ends with the run, at the latest a while after the run's time is over.

Clients get the address without the token where they read it from a file of its own (``.netrc``: pip, curl, Go, git;
``.npmrc``: npm, pnpm, Yarn 1; ``.docker/config.json``: docker, buildah, skopeo). uv shows a token only when it is asked
for one, unless the address has it: so uv's variable holds both, and is a secret.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from millpond import connect
from millpond.app.core import Core
from millpond.app.guide import base_url
from millpond.delivery.steps.base import PondAccess, Work

TOOLS = ("pip", "uv", "npm")
USER = "job"
SLACK_S = 3600.0
"""How much longer than its job a token lives, for what is committed and looked at afterwards."""
EVERYTHING = "read:*"
FAMILY = "job:"
"""What the names of all jobs' tokens begin with; their records are removed when they end, usage keeps the names."""


def family_of(task: str) -> str:
    """Give what the names of the tokens of a task's jobs begin with."""
    return f"{FAMILY}{task}:"


def token_name(work: Work) -> str:
    """Name a job's token."""
    return f"{family_of(work.task.key)}{work.job.id}"


class JobPonds:
    """See `delivery.steps.base.Ponds`."""

    def __init__(self, app: Core) -> None:
        self._app = app

    async def open(self, work: Work, home: Path) -> PondAccess:
        """Make the job's token, and write client settings into its HOME."""
        await self.close(work)
        await self._app.adopted()
        expires_at = self._app.clock.now() + work.job.timeout_s + SLACK_S
        _, secret = await self._app.tokens.create(token_name(work), [EVERYTHING], expires_at)
        named = {one.package: name for name, one in reversed([*self._app.config.repositories.items()])}
        url = base_url(self._app.config)
        return await asyncio.to_thread(point, url, named, secret, home)

    async def close(self, work: Work) -> None:
        """End the job's token; done already is done."""
        await self._app.tokens.forget(token_name(work), family=FAMILY)


def point(url: str, named: Mapping[str, str], secret: str, home: Path) -> PondAccess:
    """Write settings of clients into a HOME, and give the variables; `named`: a repository for each kind of package."""
    variables = {"MILLPOND_URL": url, "NETRC": str(home / ".netrc")}
    for tool in TOOLS:
        repository = named.get(connect.package_of(tool))
        if repository is not None:
            told = connect.plan(tool, url, {}, home, repository=repository).variables
            variables |= _with_token(told, secret) if tool == "uv" else told
    if "npm" in named:
        variables["npm_config_userconfig"] = str(home / ".npmrc")
    basic = base64.b64encode(f"{USER}:{secret}".encode()).decode()  # as it stands in files, and is sent: a secret, too
    _write(_files(url, variables, secret, basic, home))
    return PondAccess(variables, [secret, basic])


def _with_token(variables: Mapping[str, str], secret: str) -> dict[str, str]:
    """Put the token into addresses."""
    made = {}
    for name, value in variables.items():
        parts = urlsplit(value)
        made[name] = urlunsplit(parts._replace(netloc=f"{USER}:{secret}@{parts.netloc}"))
    return made


def _files(url: str, variables: Mapping[str, str], secret: str, basic: str, home: Path) -> dict[Path, str]:
    """Write what clients read, by file."""
    parts = urlsplit(url)
    files = {
        home / ".netrc": f"machine {parts.hostname} login {USER} password {secret}\n",
        home / ".docker/config.json": json.dumps({"auths": {parts.netloc: {"auth": basic}}}),
    }
    registry = variables.get("npm_config_registry")
    if registry is not None:
        place = registry.partition(":")[2]
        files[home / ".npmrc"] = f"registry={registry}\n{place}:_authToken={secret}\n"
    return files


def _write(files: Mapping[Path, str]) -> None:
    for file, text in files.items():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
