"""Deploy and roll back: one walk for both, from the leases to the record of what came of it.

    leases -> resolve, pre-pull (deploy), or: are its images there (rollback) -> the release is recorded, with its
    document -> the first host -> the other hosts, some at a time -> health -> active

Until the release is noted as `deploying` no host was changed, and whatever is wrong ends there. After it, the first
host that fails stops the rest: those that are under way come to their end, those that were not begun stay as they are,
and nothing is taken back by itself (a new schema may be in use already): the record tells how far it came, `rollback`
brings back what was there, and the same deploy can be run again. `reached` is told each step that was completed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog

from millpond.errors import BadRequest, MillpondError, NotFound
from millpond.hosts import health
from millpond.hosts.apps import LATER, AppKind, AppOptions, Pinned, Prepulled, Resolved
from millpond.hosts.commands import Argv, brief
from millpond.hosts.holding import Held, Holding
from millpond.hosts.model import HostFailed
from millpond.hosts.ports import Asker
from millpond.hosts.presence import built
from millpond.hosts.release import Release, Rendered, State, platforms_of, previous, render
from millpond.hosts.releases import Releases
from millpond.hosts.rollout import PACE, Pace, Place, Rollout, RolloutFailed, compose_program, find_manager, strangers

BEFORE = "clear pull error BEFORE deploy"
"""What a deploy says that is stopped by an image that can't be had (contract, part D)."""
MAX_ERROR = 4000
"""Characters of a failed release's error, of all hosts together."""
STOPPED = "it was called off, or Millpond was stopped, in the middle of it; run the deploy again"
T = TypeVar("T")
Told = Callable[[str, int, int | None], None]
log = structlog.get_logger(__name__)


class Prepares(Protocol):
    """What comes before a deploy: what the app's files say, and its images on every host."""

    async def resolve(self, app: AppOptions, sets: Mapping[str, str]) -> Resolved:
        """Resolve the app's files, with variables over those of its .env. Raises `MillpondError`."""

    async def prepull(
        self, app: AppOptions, resolved: Resolved, told: Told, *, refresh: bool = False, dry_run: bool = False
    ) -> Prepulled:
        """Pull what hosts lack; they are leased. `refresh`: tags are asked for again at the registry.

        `dry_run`: nothing is pulled, only what is wanted is pinned.
        Raises `MillpondError` where no host could be begun with.
        """

    async def restore(self, app: AppOptions, images: Mapping[str, str], told: Told) -> None:
        """Pull what hosts lack of an earlier release's images, by the names that it has (-> platform); they are leased.

        Raises `MillpondError`: not every host has every image.
        """

    async def commit(self, app: AppOptions) -> str:
        """Tell the commit that the app's folder is at; empty: not known."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, and what is different this time."""

    by: str = ""
    commit: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)
    refresh: bool = False
    """Ask for every tag again at its registry, also where hosts have it."""


class NotDeployed(MillpondError):
    """A deploy was stopped before anything was changed."""


@dataclass(frozen=True, slots=True)
class Deploying:
    """Deploys and rolls back, for one open application."""

    releases: Releases
    holding: Holding
    place: Callable[[str], Place]
    prepares: Prepares
    asker: Asker
    measured: Callable[[str, str, float], None]
    """Told the app, what came of it, and the seconds it took."""
    pace: Pace = PACE
    reached: Callable[[str], None] = lambda _: None

    async def deploy(self, app: AppOptions, order: Order, told: Told) -> Release:
        """Deploy an app; gives its release, active or failed. Raises `NotDeployed`, `Busy`, `MillpondError`."""
        async with self._leased(app, told) as walk:
            told("resolving", 0, None)
            commit = order.commit or await self.prepares.commit(app)
            resolved = await self.prepares.resolve(app, order.sets)
            self.reached("resolved")
            prepulled = await self.prepares.prepull(app, resolved, told, refresh=order.refresh)
            if not prepulled.ok:
                raise NotDeployed(_pull_failures(app, prepulled))
            self.reached("prepulled")
            made = await self._rendered(app, resolved, prepulled)
            new = replace(_new(app, made, walk.held), by=order.by, commit=commit, sets=dict(order.sets))
            return await self._bring_out(app, walk, new, made.document, told)

    async def plan(self, app: AppOptions, order: Order, told: Told) -> Rendered:
        """Give what `deploy` would bring out now; nothing is changed, held or recorded. Raises as `deploy` does.

        What only a pull can pin (directly, from a registry that the pond does not know) is named so.
        """
        told("resolving", 0, None)
        resolved = await self.prepares.resolve(app, order.sets)
        prepulled = await self.prepares.prepull(app, resolved, told, refresh=order.refresh, dry_run=True)
        if any(host.error or host.failures for host in prepulled.hosts.values()):
            raise NotDeployed(_pull_failures(app, prepulled))
        later = {one: Pinned(one, f"{one.reference} ({LATER})", "") for one in resolved.wanted}
        return await self._rendered(app, resolved, replace(prepulled, pins={**later, **prepulled.pins}))

    async def rollback(self, app: AppOptions, to: int | None, order: Order, told: Told) -> Release:
        """Bring an earlier release back; gives the new one that does. Asks no upstream where the images are there.

        Raises `NotFound`, `NotDeployed`, `Busy`, `MillpondError`.
        """
        async with self._leased(app, told) as walk:
            back = goal(app, await self.releases.of(app.name), to)
            document = await self.releases.document(back)
            told("looking for its images", 0, None)
            platforms = await asyncio.to_thread(platforms_of, document)
            await self.prepares.restore(app, {one: platforms.get(one, "") for one in back.images.values()}, told)
            self.reached("prepulled")
            new = replace(
                _new(app, Rendered(document, back.images), walk.held),
                by=order.by, commit=back.commit, sets=back.sets, restores=back.source,
            )  # fmt: skip
            return await self._bring_out(app, walk, new, document, told)

    async def _rendered(self, app: AppOptions, resolved: Resolved, prepulled: Prepulled) -> Rendered:
        """Render what was pulled, and what was only built on its hosts; a swarm runs none of that."""
        if app.kind is AppKind.SWARM:
            return await asyncio.to_thread(render, app, resolved, prepulled.pins)
        found = await built(app, [self.place(name) for name in app.hosts], resolved)
        services = {**resolved.services, **{name: pin.wanted for name, pin in found.items()}}
        pins = {**prepulled.pins, **{pin.wanted: pin for pin in found.values()}}
        return await asyncio.to_thread(render, app, replace(resolved, services=services), pins)

    @asynccontextmanager
    async def _leased(self, app: AppOptions, told: Told) -> AsyncIterator[_Walk]:
        """Hold what a deploy takes, and measure it; what an earlier one left unfinished is noted first."""
        walk = _Walk()
        async with self.holding.all(app.name, app.hosts, lambda text: told(text, 0, None)) as walk.held:
            began = time.monotonic()
            await self.releases.recover(app.name)
            self.reached("leased")
            try:
                yield walk
            finally:
                self.measured(app.name, walk.outcome, time.monotonic() - began)

    async def _bring_out(self, app: AppOptions, walk: _Walk, new: Release, document: str, told: Told) -> Release:
        """Record a release, bring it out, and record what came of it."""
        read = await asyncio.to_thread(Rollout.of, app, new, document, self.pace, lambda text: told(text, 0, None))
        await walk.held.check()
        release = await self.releases.begin(new, document)
        walk.outcome = State.INTERRUPTED  # until it has come to its end
        self.reached("recorded")
        mask, rollout = read.mask, replace(read, release=release)
        run = _Run(self, app, walk.held, release, rollout, told)
        try:
            await run.out()
            await walk.held.check()
            active = await self.releases.activate(run.release)
        except (RolloutFailed, HostFailed) as error:
            wrong = f"{error.host}: {error.told}" if isinstance(error, HostFailed) else str(error)
            text = brief(mask(wrong), MAX_ERROR)
            details = error.details if isinstance(error, RolloutFailed) else ()
            log.warning("a release failed", app=app.name, release=release.number, error=text)
            failed = await self.releases.failed(run.release, text, (*run.release.details, *details))
            walk.outcome = failed.state
            await self.releases.forget(app.name, app.keep)
            return failed
        except asyncio.CancelledError:
            await self._noted(self.releases.interrupted(run.release, STOPPED))
            raise
        except Exception as error:
            text = brief(mask(str(error) if isinstance(error, MillpondError) else f"{type(error).__name__}: {error}"))
            failed_now = await self._noted(self.releases.failed(run.release, text))
            walk.outcome = failed_now.state if failed_now else walk.outcome
            raise
        walk.outcome = active.state
        self.reached("active")
        await self.releases.forget(app.name, app.keep)
        log.info("a release is active", app=app.name, release=release.number, by=release.by)
        return active

    @staticmethod
    async def _noted(noting: Coroutine[Any, Any, Release]) -> Release | None:
        """Note how a release ended beside a fault that is raised anyhow; what can't be noted, the next run does."""
        try:
            return await asyncio.shield(noting)
        except Exception as error:  # noqa: BLE001 - the fault itself is told; a run that took over has noted it already
            log.warning("the end of a release could not be noted", error=str(error))
            return None


@dataclass(slots=True)
class _Walk:
    """One deploy or rollback: what it holds, and what came of it.

    That is the state of its release, or ``stopped``: there is none, nothing was changed.
    """

    held: Held = field(default_factory=lambda: Held(0))
    outcome: str = "stopped"


class _Run:
    """One release on its way over the hosts."""

    def __init__(
        self, deploying: Deploying, app: AppOptions, held: Held, release: Release, rollout: Rollout, told: Told
    ) -> None:
        self._with, self._app, self._held, self._rollout, self._told = deploying, app, held, rollout, told
        self.release = release
        self._progress: dict[str, str] = {}
        self._failures: dict[str, RolloutFailed | HostFailed] = {}

    async def out(self) -> None:
        """Bring it out everywhere. Raises `RolloutFailed`, `HostFailed`, `Busy`."""
        places = [self._with.place(name) for name in self._app.hosts]
        if self._app.kind is AppKind.SWARM:
            await self._stack(places)
        else:
            await self._composed(places)
        await health.url_is_well(self._app.health, self._with.asker, self._rollout.mask)
        self._with.reached("healthy")

    async def _begun(self) -> None:
        await self._held.check()
        self.release = await self._with.releases.deploying(self.release)
        self._with.reached("deploying")

    async def _stack(self, places: Sequence[Place]) -> None:
        manager = await find_manager(places)
        others = await strangers(manager, places)
        if others:
            text = f"nothing was pre-pulled on {', '.join(others)}: of the swarm's nodes, and none of the app's hosts"
            log.warning("nodes of the swarm are none of the app's hosts", app=self._app.name, nodes=others)
            self._told(text, 0, None)
            self.release = replace(self.release, details=(text,))
        await self._begun()
        self._told(f"deploying the stack on {manager.host.name}", 0, 1)
        await self._on(manager, lambda: self._rollout.stack(manager))
        self._end()
        for place in places:
            await health.command_is_well(self._app.health, place.host, self._rollout.mask)

    async def _composed(self, places: Sequence[Place]) -> None:
        programs = await _all(compose_program(place) for place in places)
        await self._begun()
        turn = asyncio.Semaphore(self._app.parallel)

        async def one(place: Place, program: Argv) -> None:
            async with turn:
                if not self._failures:
                    self._told(f"deploying on {place.host.name}", len(self._done), len(places))
                    await self._on(place, lambda: self._composed_on(place, program))

        first, *rest = zip(places, programs, strict=True)
        await one(*first)
        await _all(one(*pair) for pair in rest)
        self._end()

    async def _composed_on(self, place: Place, program: Argv) -> None:
        await self._rollout.compose(place, program)
        await health.command_is_well(self._app.health, place.host, self._rollout.mask)

    @property
    def _done(self) -> list[str]:
        return [name for name, state in self._progress.items() if state == "done"]

    async def _on(self, place: Place, work: Callable[[], Awaitable[None]]) -> None:
        """Do one host's work, and note how it ended; a failure stops those that were not begun."""
        name = place.host.name
        await self._held.check()
        await self._note(name, "deploying")
        try:
            await work()
        except (RolloutFailed, HostFailed) as error:
            self._failures[name] = error
            await self._note(name, "failed")
            return
        await self._note(name, "done")
        self._with.reached(f"host:{name}")

    async def _note(self, name: str, state: str) -> None:
        self._progress[name] = state
        await self._with.releases.note(self.release, self._progress)
        self.release = replace(self.release, progress=dict(self._progress))

    def _end(self) -> None:
        if not self._failures:
            return
        texts = [error.told if isinstance(error, HostFailed) else str(error) for error in self._failures.values()]
        told = "; ".join(f"{name}: {text}" for name, text in zip(self._failures, texts, strict=True))
        left = [name for name in self._app.hosts if name not in self._progress]
        told += f"; not begun: {', '.join(left)}" if left and self._app.kind is AppKind.COMPOSE else ""
        details = [
            f"{name}: {line}"
            for name, error in self._failures.items()
            for line in (error.details if isinstance(error, RolloutFailed) else ())
        ]
        raise RolloutFailed(told, details)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do everything to its end, then raise the first fault."""
    ended = await asyncio.gather(*work, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return [one for one in ended if not isinstance(one, BaseException)]


def _new(app: AppOptions, made: Rendered, held: Held) -> Release:
    return Release(app.name, 0, State.PREPARED, app.kind, made.checksum, app.hosts, dict(made.images), fence=held.fence)


def _pull_failures(app: AppOptions, prepulled: Prepulled) -> str:
    """Name each image, host and cause."""
    told: list[str] = []
    for name, host in prepulled.hosts.items():
        told += [f"{name}: {host.error}"] if host.error else []
        told += [f"{one.image} on {name}: {one.text} ({one.kind.value})" for one in host.failures]
    return f"{app.name}: {BEFORE}: {'; '.join(told) or 'not every host has every image'}; nothing was changed"


def goal(app: AppOptions, releases: Sequence[Release], to: int | None) -> Release:
    """Give the release that a rollback brings back. Raises `NotFound`, `BadRequest`."""
    if to is None:
        back = previous(releases)
        if back is None:
            raise NotFound(f"{app.name} has no earlier release to go back to; `millpond release ls {app.name}`")
    else:
        back = next((one for one in releases if one.number == to), None)
        if back is None:
            raise NotFound(f"{app.name} has no release {to} (any more); `millpond release ls {app.name}` lists them")
        if back.activated_at is None:
            raise BadRequest(f"release {to} of {app.name} never ran as it should: choose one that was active")
    if back.kind is not app.kind:
        raise BadRequest(f"release {back.number} of {app.name} is of kind {back.kind}, the app is {app.kind} now")
    return back
