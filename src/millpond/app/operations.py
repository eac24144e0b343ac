"""What commands and the control API do: JSON in, JSON out, progress on the way.

One method is one operation, the same beside a running daemon (through its socket or its API) and without one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote, urlsplit

from millpond.access.tokens import Token
from millpond.app.application import App
from millpond.app.boardops import BoardOperations
from millpond.app.deployops import DeployOperations
from millpond.app.driftops import DriftOperations
from millpond.app.explain import explain
from millpond.app.forgeops import ForgeOperations
from millpond.app.hostops import HostOperations
from millpond.app.issues import explain_issue, find_task
from millpond.app.jobs import family_of
from millpond.app.prepulling import prepull_operation
from millpond.app.taskops import TaskOperations
from millpond.artifacts.proxy import Proxy
from millpond.config import parse_duration
from millpond.errors import BadRequest, NotFound

Progress = Callable[[str, int, int | None], None]
Operation = Callable[..., Awaitable[Any]]


class Operations:
    """The operations of one open application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        names = (
            "repo_ls", "repo_show", "repo_flush", "gc", "fsck", "why", "usage", "token_create", "token_ls",
            "token_revoke", "reload", "address",
        )  # fmt: skip
        own = {name: getattr(self, name) for name in names}
        more = {"prepull": prepull_operation(self._app)}
        areas = (HostOperations, DeployOperations, BoardOperations, ForgeOperations, TaskOperations, DriftOperations)
        for area in areas:
            more |= area(self._app).all()
        return own | more

    async def repo_ls(self, progress: Progress) -> dict[str, Any]:
        """List the repositories with what they hold."""
        del progress
        totals = await self._app.catalog.totals()
        rows = []
        for name, settings in self._app.settings().items():
            held = totals.get(name)
            counts = {"entries": held.entries if held else 0, "bytes": held.bytes if held else 0}
            rows.append({"name": name, **_summary(settings), **counts})
        return {"repositories": rows, "skipped": list(self._app.skipped)}

    async def repo_show(self, progress: Progress, name: str, prefix: str = "", limit: int = 50) -> dict[str, Any]:
        """Show one repository and a page of its entries."""
        del progress
        repository = self._app.repository(name)
        now = self._app.clock.now()
        entries = await self._app.catalog.entries(name, prefix=prefix, limit=limit)
        upstream = dict(repository.remote.upstream.status()) if isinstance(repository, Proxy) else {}
        return {
            "name": name,
            "settings": self._app.settings()[name],
            "upstream": upstream,
            "entries": [
                {
                    "path": entry.path,
                    "variant": entry.variant,
                    "status": entry.status,
                    "size": entry.size,
                    "digest": entry.digest,
                    "age": f"{max(now - entry.validated_at, 0):.0f}s",
                    "state": entry.failure or ("negative" if entry.negative else "good"),
                }
                for entry in entries
            ],
        }

    async def repo_flush(self, progress: Progress, name: str | None = None) -> dict[str, Any]:
        """Drop cached content. Raises `NotFound` for an unknown name."""
        del progress
        if name is not None:
            self._app.repository(name)
        names = [n for n, r in self._app.repositories.items() if r.type == "remote" and name in {None, n}]
        counts = await self._app.catalog.flush(names)
        self._app.derived.forget()
        return {
            "remote": name,
            "flushed": {
                "entries": counts.entries,
                "objects": counts.objects,
                "bytes": counts.bytes,
                "redis_keys": counts.records,
                "s3_objects": counts.objects,
            },
        }

    async def gc(self, progress: Progress, dry_run: bool = False) -> dict[str, Any]:
        """Evict what exceeds the limit, and collect what nothing refers to."""
        return await self._app.upkeep.collect(dry_run=dry_run, progress=progress)

    async def fsck(self, progress: Progress, repair: bool = False) -> dict[str, Any]:
        """Check bytes, catalog and records against each other."""
        return await self._app.upkeep.check(repair=repair, progress=progress)

    async def why(self, progress: Progress, ref: str) -> dict[str, Any]:
        """Explain an artifact's state, or what an issue waits for. Raises `NotFound`."""
        del progress
        issue = await explain_issue(self._app, ref)
        if issue is not None:
            return issue
        name, path, query = _reference(ref)
        return await explain(self._app, self._app.repository(name), path, query)

    async def usage(
        self,
        progress: Progress,
        artifact: str | None = None,
        token: str | None = None,
        limit: int = 50,
        task: str | None = None,
    ) -> list[dict[str, Any]]:
        """List usage records, newest first; `task`: what the jobs of a task drew, such as SH-12."""
        del progress
        repository, path = None, artifact
        if artifact is not None and artifact.partition("/")[0] in self._app.repositories:
            repository, _, path = artifact.partition("/")
        self._app.hits.flush()
        await self._app.usage.flush()
        known, unknown = await _known_task(self._app, task)
        family = family_of(known) if known is not None else None
        records = await self._app.usage.records(
            repository=repository, path=path or None, token=token, family=family, limit=limit
        )
        if unknown is not None and not records:  # usage is kept longer than tasks
            raise unknown
        return [asdict(record) | {"at": _iso(record.at)} for record in records]

    async def token_create(
        self, progress: Progress, name: str, scopes: list[str], expires: str | None = None
    ) -> dict[str, Any]:
        """Make a token; its secret is told this once."""
        del progress
        try:
            expires_at = self._app.clock.now() + parse_duration(expires) if expires else None
        except ValueError as error:
            raise BadRequest(f"expires: {error}") from error
        token, secret = await self._app.tokens.create(name, scopes, expires_at)
        return self._told(token) | {"token": secret}

    async def token_ls(self, progress: Progress) -> list[dict[str, Any]]:
        """List the tokens."""
        del progress
        return [self._told(token) for token in await self._app.tokens.list()]

    async def token_revoke(self, progress: Progress, name: str) -> dict[str, Any]:
        """Revoke a token by name or id. Raises `NotFound`."""
        del progress
        return self._told(await self._app.tokens.revoke(name))

    def _told(self, token: Token) -> dict[str, Any]:
        expired = token.expires_at is not None and token.expires_at <= self._app.clock.now()
        return {
            "id": token.id,
            "name": token.name,
            "scopes": [str(scope) for scope in token.scopes],
            "created": _iso(token.created_at),
            "expires": _iso(token.expires_at) if token.expires_at is not None else None,
            "state": "revoked" if token.revoked_at is not None else "expired" if expired else "good",
        }

    async def reload(self, progress: Progress) -> dict[str, Any]:
        """Read the configuration again, in every worker.

        Raises `ConfigError` when it is refused, `MillpondError` naming the workers that did not take it.
        """
        del progress
        await self._app.reload_everywhere()
        return {"reloaded": True}

    async def address(self, progress: Progress) -> dict[str, Any]:
        """Tell where this pond listens, by the keys of [server]; its port is the one that it got."""
        del progress
        server = self._app.config.server
        keys = ("host", "port", "public_url", "mirror_listen")
        return {f"server_{key}": getattr(server, key) for key in keys}


async def _known_task(app: App, name: str | None) -> tuple[str | None, NotFound | None]:
    """Write a task's key as it is written; with a fault where there is no such task (any more)."""
    try:
        return (None if name is None else (await find_task(app, name)).key), None
    except NotFound as error:
        return name, error


def _summary(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "package": settings["package"],
        "type": settings["type"],
        "base_url": settings.get("base_url") or "",
        "found_in": settings.get("found_in") or "",
    }


def _reference(ref: str) -> tuple[str, str, str]:
    """Read an artifact's URL or ``REPOSITORY/PATH``."""
    parts = urlsplit(ref)
    path = unquote(parts.path).lstrip("/")
    path = path.removeprefix("api/v1/remote/").removeprefix("v2/")
    name, _, rest = path.partition("/")
    if not name:
        raise BadRequest(f"{ref!r} names no artifact; give its URL, or REPOSITORY/PATH, or an issue's key")
    return name, rest, parts.query


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
