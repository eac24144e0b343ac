"""Pre-pull, wired: where an app's files lie, the pond as its registry, room by the disk watchdog's ladder.

`Prepulling` is what a deploy asks for (it holds the leases then); the operation takes them itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import structlog

from millpond.adapters.localhost import LocalHost
from millpond.app.fleet import app_options
from millpond.app.hosted import Hosted
from millpond.app.hosting import Hosting
from millpond.app.operating import Progress
from millpond.app.registry import PondRegistry
from millpond.errors import MillpondError
from millpond.hosts.address import LOCAL, Address
from millpond.hosts.apps import AppOptions, HostPull, Prepulled, PullFrom, Resolved
from millpond.hosts.giving import Means, Told
from millpond.hosts.holding import Holding
from millpond.hosts.model import HostOptions, Limits
from millpond.hosts.ports import Host
from millpond.hosts.prepull import prepull
from millpond.hosts.restoring import restore

log = structlog.get_logger(__name__)


class Prepulling:
    """Resolves and pre-pulls for one open application; `hosting` as it was when this began, whatever is reloaded."""

    def __init__(self, app: Hosted, hosting: Hosting) -> None:
        self._app, self._hosting = app, hosting

    async def resolve(self, app: AppOptions, sets: Mapping[str, str]) -> Resolved:
        """Resolve the app's files, with variables over those of its .env. Raises `AppFailed`, `HostFailed`."""
        from millpond.hosts.resolving import resolve  # YAML: only where an app is

        limits = self._hosting.watched(app.on).options.limits if app.on else Limits()
        return await resolve(self.machine(app), app, limits=limits, over=sets)

    def machine(self, app: AppOptions) -> Host:
        """Give the machine that an app's files lie on."""
        if app.on:
            return self._hosting.watched(app.on).host
        return LocalHost(HostOptions(LOCAL, Address(LOCAL)))

    async def prepull(
        self, app: AppOptions, resolved: Resolved, told: Told, *, refresh: bool = False, dry_run: bool = False
    ) -> Prepulled:
        """Pull what hosts lack; they are leased. Raises `AppFailed`."""
        places = [self._hosting.watched(name) for name in app.hosts]
        return await prepull(app, resolved, places, self.means(app), told, refresh=refresh, dry_run=dry_run)

    async def restore(self, app: AppOptions, images: Mapping[str, str], told: Told) -> None:
        """Pull what hosts lack of an earlier release; they are leased. Raises `MillpondError`."""
        places = [self._hosting.watched(name) for name in app.hosts]
        await restore(app, images, places, self.means(app), told)

    def means(self, app: AppOptions) -> Means:
        """Give what images are pulled with."""
        away = (
            f"no daemon runs on {self._app.data}, and its hosts pull what they lack through it: start `millpond serve`"
        )
        return Means(
            registry=PondRegistry(self._app, app.pond),
            make_room=self._make_room,
            underway=self._app.underway,
            measured=self._app.metrics.pulled,
            away="" if self._app.serving else away,
        )

    async def _make_room(self, name: str) -> bool:
        """Climb the disk watchdog's ladder, where it is switched on."""
        if not self._hosting.options[name].disk.enabled:
            return False
        try:
            run = await self._hosting.watchdog(name).make_room()
        except (MillpondError, OSError) as error:
            log.warning("no room could be made", host=name, error=str(error))
            return False
        return bool(run.told.get("steps"))


def prepull_operation(app: Hosted) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Make the operation ``prepull``."""

    async def operation(progress: Progress, name: str, refresh: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """Give an app's hosts its images, or tell what would be pulled. Raises `NotFound`, `AppFailed`, `Busy`."""
        options = app_options(name, app.config)
        await app.adopted()
        async with app.hosting.used() as hosting, app.running.running(name):
            prepulling = Prepulling(app, hosting)
            progress("resolving", 0, None)
            resolved = await prepulling.resolve(options, {})
            if dry_run or not resolved.wanted:
                done = await prepulling.prepull(options, resolved, progress, refresh=refresh, dry_run=True)
            else:
                holding = Holding(app.leases, app.clock, app.node)
                async with holding.all(name, options.hosts, lambda text: progress(text, 0, None)) as held:
                    done = await prepulling.prepull(options, resolved, progress, refresh=refresh)
                    await held.check()
        return told(options, resolved, done, dry_run=dry_run)

    return operation


def told(app: AppOptions, resolved: Resolved, done: Prepulled, *, dry_run: bool) -> dict[str, Any]:
    """Give a pre-pull as JSON values; what has no digest (yet) has none there. `later`: only its pull tells it.

    That is so where a host would pull it directly, and could be asked whether it has it.
    """
    images = []
    asked = any(not state.error for state in done.hosts.values())
    failed = {failure.image for state in done.hosts.values() for failure in state.failures}
    for wanted in resolved.wanted:
        pin = done.pins.get(wanted)
        digest = {"pinned": pin.reference if pin else None, "digest": pin.digest if pin else None}
        later = dry_run and pin is None and asked and app.pull is PullFrom.DIRECT and wanted.reference not in failed
        images.append({"image": wanted.reference, "platform": wanted.platform, "later": later, **digest})
    hosts = {host: _host(state) for host, state in done.hosts.items()}
    sound = not any(state.error or state.failures for state in done.hosts.values())
    return {"app": app.name, "dry_run": dry_run, "ok": sound if dry_run else done.ok, "images": images, "hosts": hosts}


def _host(state: HostPull) -> dict[str, Any]:
    failures = [asdict(failure) for failure in state.failures]
    return {
        "desired": state.desired,
        "active": state.active,
        "succeeded": state.succeeded,
        "failed": len(failures),
        "failures": failures,
        "error": state.error or None,
        "error_kind": str(state.kind) if state.error else None,
    }
