"""``millpond deploy``, ``rollback`` and ``release ...``: what commands and the control API do with releases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from millpond.app.deploying import deploying
from millpond.app.fleet import app_options
from millpond.app.hosted import Hosted
from millpond.app.operating import Operation, Progress
from millpond.errors import BadRequest, NotFound
from millpond.hosts.apps import AppOptions
from millpond.hosts.deploying import Order, goal
from millpond.hosts.holding import Holding
from millpond.hosts.masking import MASK, masked, shown
from millpond.hosts.planning import changes
from millpond.hosts.release import UNFINISHED, Release, State, current, previous

MAX_SETS, MAX_VALUE, MAX_WHO = 100, 32 * 1024, 200
MAX_LISTED = 10_000


class DeployOperations:
    """The operations on the releases of one open application."""

    def __init__(self, app: Hosted) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        return {name: getattr(self, name) for name in ("deploy", "rollback", "release_ls", "release_show", "call_off")}

    async def deploy(
        self,
        progress: Progress,
        name: str,
        sets: Mapping[str, str] | None = None,
        by: str = "",
        commit: str = "",
        refresh: bool = False,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Deploy an app. Raises `NotFound`, `BadRequest`, `Busy`, `MillpondError` where nothing was changed."""
        options = app_options(name, self._app.config)
        order = replace(_order(sets or {}, by, commit), refresh=refresh)
        await self._app.adopted()
        async with self._app.hosting.used() as hosting, self._app.running.running(name):
            deploy = deploying(self._app, hosting)
            if dry_run:
                made = await deploy.plan(options, order, progress)
                return await self._would(options, made.document, dict(made.images))
            return await self._told(options, await deploy.deploy(options, order, progress))

    async def rollback(
        self, progress: Progress, name: str, to: int | None = None, by: str = "", dry_run: bool = False
    ) -> dict[str, Any]:
        """Bring an earlier release back. Raises `NotFound`, `BadRequest`, `Busy`, `MillpondError` as `deploy` does."""
        options = app_options(name, self._app.config)
        order = _order({}, by, "")
        if dry_run:
            releases = self._app.hosting.releases
            back = goal(options, await releases.of(name), to)
            document = await releases.document(back)
            return await self._would(options, document, dict(back.images)) | {"restores": back.number}
        async with self._app.hosting.used() as hosting, self._app.running.running(name):
            back = await deploying(self._app, hosting).rollback(options, to, order, progress)
        return await self._told(options, back)

    async def call_off(self, progress: Progress, name: str) -> dict[str, Any]:
        """Break off what is under way for an app. Raises `NotFound`."""
        del progress
        return {"app": name, "called_off": self._app.running.call_off(name)}

    async def release_ls(self, progress: Progress, name: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """List releases, newest first; of what was set only the names, since readers need not be known.

        Raises `NotFound` for an app that is not configured and has none.
        """
        del progress
        found = await self._app.hosting.releases.latest(min(max(limit, 1), MAX_LISTED), name)
        if name is not None and not found:
            app_options(name, self._app.config)  # says which there are
        return [await self._row(one) | {"sets": dict.fromkeys(one.sets, MASK)} for one in found]

    async def release_show(self, progress: Progress, name: str, number: int | None = None) -> dict[str, Any]:
        """Show one release (without a number: the latest) with its document, secrets masked. Raises `NotFound`."""
        del progress
        releases = await self._app.hosting.releases.of(name)
        found = releases[-1] if releases and number is None else None
        found = found or next((one for one in releases if one.number == number), None)
        if found is None:
            which = f"release {number} of {name}" if number is not None else f"release of {name}"
            raise NotFound(f"there is no {which}; `millpond release ls` lists them")
        text = await self._app.hosting.releases.document(found)
        document = await asyncio.to_thread(lambda: masked(json.loads(text)))
        return await self._row(found) | {"details": list(found.details), "document": document}

    async def _row(self, release: Release) -> dict[str, Any]:
        told = asdict(release)
        told["sha"] = told.pop("commit")  # as of tasks, jobs and evidence
        row = told | {"hosts": list(release.hosts), "sets": shown(release.sets), "ok": _is_ok(release)}
        if release.state in UNFINISHED and not await self._holding().under_way(release.app):
            row["state"] = State.INTERRUPTED
        times = ("created_at", "began_at", "activated_at", "ended_at")
        row = {(f"{key[:-3]}_ts" if key in times else key): value for key, value in row.items()}
        return {key: value for key, value in row.items() if key not in {"fence", "details"}}

    def _holding(self) -> Holding:
        return Holding(self._app.leases, self._app.clock, self._app.node)

    async def _told(self, options: AppOptions, release: Release) -> dict[str, Any]:
        releases = await self._app.hosting.releases.of(options.name)
        back = previous(releases)
        return {
            "ok": _is_ok(release),
            "release": await self._row(release),
            "details": list(release.details),
            "rollback": back.number if back else None,
            "left_on": _left_on(options, releases),
        }

    async def _would(self, options: AppOptions, document: str, images: dict[str, str]) -> dict[str, Any]:
        releases = await self._app.hosting.releases.of(options.name)
        active = current(releases)
        running = await self._app.hosting.releases.document(active) if active else None
        return {
            "ok": True,
            "dry_run": True,
            "app": options.name,
            "hosts": list(options.hosts),
            "running": active.number if active else None,
            "images": images,
            "changes": await asyncio.to_thread(_changes, running, document),
            "left_on": _left_on(options, releases),
        }


def _changes(old: str | None, new: str) -> list[str]:
    """Name what differs between two documents. They may be large: to be called off the event loop."""
    return changes(None if old is None else json.loads(old), json.loads(new))


def _is_ok(release: Release) -> bool:
    return release.state not in {State.FAILED, State.INTERRUPTED}


def _left_on(options: AppOptions, releases: list[Release]) -> list[str]:
    """Name hosts that are the app's no more, and on which a release of it was brought out."""
    was = {host for one in releases if one.kind is options.kind for host in one.hosts}
    return sorted(was - set(options.hosts)) if options.kind == "compose" else []


def _order(sets: Mapping[str, str], by: str, commit: str) -> Order:
    if not all(isinstance(value, str) for value in sets.values()):
        raise BadRequest("what is set is text")
    if len(sets) > MAX_SETS or any(len(value) > MAX_VALUE for value in sets.values()):
        raise BadRequest(f"at most {MAX_SETS} variables can be set, of at most {MAX_VALUE} characters each")
    if len(by) > MAX_WHO or len(commit) > MAX_WHO or not (by + commit).isprintable():
        raise BadRequest(f"who deploys, and the commit, are at most {MAX_WHO} printable characters")
    return Order(by, commit, dict(sets))
