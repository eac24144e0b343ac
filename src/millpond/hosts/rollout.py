"""Bringing a release out on one host, or to a swarm, and looking until it runs: commands executed, nothing decided.

Both end with a `Verdict` by `hosts.convergence`, reached by asking the engine: what compose or the swarm's client said
and its exit code only add to it. A connection that is lost while looking is taken up again until the time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from millpond.hosts import orchestrators as orch
from millpond.hosts.apps import AppKind, AppOptions
from millpond.hosts.commands import Argv, Docker, brief, failure_text
from millpond.hosts.commands import ids as read_ids
from millpond.hosts.convergence import Looks, StackLooks, Trouble, Verdict, Wanted, wanted_of
from millpond.hosts.exclusion import HELD, alone
from millpond.hosts.inspecting import ask, engine
from millpond.hosts.masking import Mask
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.ports import Host
from millpond.hosts.release import Release

LOGS_S = 20.0
EXPLAINED = 3
"""Services whose last words are told."""
BATCH = 50
MIN_S = 5.0
LEFT_BEHIND_S = 15
"""How long after its time-out the last of a command on a host has ended."""
TIMED_OUT = 124
"""As timeout(1) has it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it is looked, and how long a container without a health check has to run."""

    look_every_s: float = 1.0
    steady_s: float = 5.0


PACE = Pace()


class RolloutFailed(Exception):
    """A release does not run on a host; `details` are lines that explain it, masked."""

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = tuple(details)


@dataclass(frozen=True, slots=True)
class Place:
    """A host that an app runs on."""

    host: Host
    options: HostOptions

    @property
    def docker(self) -> Docker:
        """The command lines for its engine."""
        return Docker(self.options.docker_host)


async def compose_program(place: Place) -> Argv:
    """Find compose on a host: docker's plug-in, or docker-compose. Raises `HostFailed`."""
    said = ""
    for program in orch.compose_programs(place.docker):
        done = await place.host.run(orch.version_of(program), timeout_s=place.options.limits.command_timeout_s)
        if done.ok and orch.reads_documents(done.out):
            return program
        said = brief(done.out) if done.ok else said or failure_text(done)
    text = f"no Docker Compose of version {orch.OLDEST_COMPOSE} or later there ({said}); install docker-compose-plugin"
    raise HostFailed(place.host.name, text, kind=Kind.PERMANENT, reason="command", rc=127)


async def find_manager(places: Sequence[Place]) -> Place:
    """Give the first host that is a manager of a swarm; one that can't be asked is passed over. Raises `HostFailed`."""
    fault: HostFailed | None = None
    for place in places:
        try:
            if (await engine(place.host, place.docker, place.options.limits)).manager:
                return place
        except HostFailed as error:
            fault = error
    if fault is not None:
        raise fault
    names = ", ".join(place.host.name for place in places)
    text = "none of its hosts is a manager of a swarm (`docker swarm init` makes one)"
    raise HostFailed(names, text, kind=Kind.PERMANENT, reason="command")


async def nodes(manager: Place) -> tuple[orch.Node, ...]:
    """List the nodes of a manager's swarm. Raises `HostFailed`."""
    return await ask(manager.host, orch.nodes_of(manager.docker), manager.options.limits, orch.read_nodes)


async def strangers(manager: Place, places: Sequence[Place]) -> list[str]:
    """Name the nodes that take tasks and are none of the app's hosts: nothing is pre-pulled there."""
    known: set[str] = set()
    for place in places:
        with contextlib.suppress(HostFailed):  # then its node is named, too
            known.add((await engine(place.host, place.docker, place.options.limits)).node)
    return [one.name for one in await nodes(manager) if one.usable and one.id not in known]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One release, its document and what was read of it, and how patient we are."""

    app: AppOptions
    release: Release
    document: str
    mask: Mask
    wanted: Mapping[str, Wanted]
    pace: Pace
    told: Callable[[str], None] = lambda _: None

    @classmethod
    def of(
        cls, app: AppOptions, release: Release, document: str, pace: Pace, told: Callable[[str], None] = lambda _: None
    ) -> Rollout:
        """Read a release's document, once for all hosts. It may be large: to be called off the event loop."""
        return cls(app, release, document, Mask(json.loads(document), release.sets), wanted_of(document), pace, told)

    async def compose(self, place: Place, program: Argv) -> None:
        """Bring it out on one host. Raises `RolloutFailed`, `HostFailed`."""
        await self._cleared(place)
        until = time.monotonic() + self.app.converge_timeout_s
        done = await self._hand(place, orch.Compose(program, self.app.name).up(), until)
        looks = Looks(self.wanted, self.pace.steady_s)

        async def look() -> Verdict:
            return looks.judge(await self._containers(place), time.monotonic())

        await self._converge(place, look, done, until)

    async def stack(self, place: Place) -> None:
        """Deploy it as a stack on a manager. Raises `RolloutFailed`, `HostFailed`."""
        await self._cleared(place)
        until = time.monotonic() + self.app.converge_timeout_s
        looks = StackLooks(self.app.name, self.release.images, self.pace.steady_s)

        async def look() -> Verdict:
            services, tasks = await self._stack(place)
            return looks.judge(services, tasks, time.monotonic(), sum(one.usable for one in await nodes(place)))

        looks.before((await self._stack(place))[1])
        done = await self._hand(place, orch.stack_up(place.docker, self.app.name), until)
        if not done.ok:
            raise RolloutFailed(orch.failure(done, self.mask.brief))
        await self._converge(place, look, done, until)

    async def still(self, place: Place, patience_s: float) -> Verdict:
        """Look whether it runs there as it was brought out; nothing is changed. Raises `HostFailed`."""
        stack = self.app.kind is AppKind.SWARM
        one, many = Looks(self.wanted, self.pace.steady_s), StackLooks(self.app.name, self.release.images, 0.0)
        until = time.monotonic() + patience_s
        while True:
            if stack:
                services, tasks = await self._stack(place)
                usable = sum(node.usable for node in await nodes(place))
                verdict = many.judge(services, tasks, time.monotonic(), usable)
            else:
                verdict = one.judge(await self._containers(place), time.monotonic())
            if verdict.there or verdict.failed or time.monotonic() >= until:
                return verdict
            await asyncio.sleep(self.pace.look_every_s)

    async def _cleared(self, place: Place) -> None:
        """Wait until nothing brings anything out there that an ended Millpond has left behind. Raises `RolloutFailed`.

        It ends by itself: it was given no more time than this is.
        """
        for wait_s in (0, math.ceil(self.app.converge_timeout_s) + LEFT_BEHIND_S):
            timeout_s = wait_s + place.options.limits.command_timeout_s
            done = await place.host.run(self._alone(place, ("true",), wait_s), timeout_s=timeout_s)
            if done.rc != HELD:
                return
            self.told(f"waiting: an earlier deploy is still at work on {place.host.name}")
        raise RolloutFailed(
            "an earlier deploy is still at work there, longer than it may: look what it is, then deploy"
        )

    def _alone(self, place: Place, argv: Argv, wait_s: int) -> Argv:
        return alone(argv, place.docker, self.app.name, wait_s)

    async def _hand(self, place: Place, argv: Argv, until: float) -> Completed:
        """Hand the document over. One that takes too long has failed; why, the containers tell."""
        left_s = max(until - time.monotonic(), MIN_S)
        try:
            words = self._alone(place, argv, int(left_s))
            return await place.host.run(words, timeout_s=left_s, stdin=self.document.encode())
        except HostFailed as error:
            if error.reason != "timeout":
                raise
            return Completed(TIMED_OUT, "", f"`{' '.join(argv[:2])}` did not end within {left_s:.0f} s and was ended")

    async def _converge(
        self, place: Place, look: Callable[[], Awaitable[Verdict]], done: Completed, until: float
    ) -> None:
        """Look until all is there, can't be, or the time is over; after a command that failed, once."""
        lost: HostFailed | None = None
        verdict = Verdict()
        while True:
            try:
                verdict, lost = await look(), None
            except HostFailed as error:
                if error.kind is not Kind.TRANSIENT:
                    raise
                lost = error
            if lost is None and done.ok and verdict.there:
                return
            if not done.ok or verdict.failed or time.monotonic() >= until:
                break
            await asyncio.sleep(self.pace.look_every_s)
        if lost is not None and done.ok:
            raise lost
        raise await self._explained(place, verdict, done)

    async def _explained(self, place: Place, verdict: Verdict, done: Completed) -> RolloutFailed:
        """Say why, with the last words of what failed."""
        wrong = verdict.failed or verdict.waiting
        said = [] if done.ok else [orch.failure(done, self.mask.brief)]
        late = done.ok and not verdict.failed
        said += [f"not as it should be after {self.app.converge_timeout_s:g} s"] if late else []
        text = "; ".join([*map(str, wrong[:EXPLAINED]), *said])
        details: list[str] = []
        for trouble in [one for one in wrong if one.who][:EXPLAINED]:
            details += [f"{trouble.service}| {line}" for line in await self._last_words(place, trouble)]
        return RolloutFailed(self.mask(text), details)

    async def _last_words(self, place: Place, trouble: Trouble) -> list[str]:
        stack = self.release.kind.value == "swarm"
        argv = orch.task_logs(place.docker, trouble.who) if stack else orch.logs_of(place.docker, trouble.who)
        try:
            done = await place.host.run(argv, timeout_s=LOGS_S)
        except HostFailed:
            return []
        return [self.mask.brief(line) for line in f"{done.out}\n{done.err}".splitlines() if line.strip()][-orch.TAIL :]

    async def _containers(self, place: Place) -> tuple[orch.Container, ...]:
        """Look at its containers; what they say is masked before anything is made of it."""
        limits = place.options.limits
        found = await ask(place.host, orch.containers_of(place.docker, self.app.name), limits, read_ids)
        containers: list[orch.Container] = []
        for start in range(0, len(found), BATCH):
            argv = orch.inspect_containers(place.docker, found[start : start + BATCH])
            containers += await ask(place.host, argv, limits, orch.read_containers)
        mask = self.mask
        return tuple(replace(one, error=mask(one.error), health_said=mask(one.health_said)) for one in containers)

    async def _stack(self, place: Place) -> tuple[tuple[orch.Service, ...], tuple[orch.Task, ...]]:
        limits, app, mask = place.options.limits, self.app.name, self.mask
        found = await ask(place.host, orch.services_of(place.docker, app), limits, orch.read_service_ids)
        if not found:
            return (), ()
        services = await ask(place.host, orch.inspect_services(place.docker, found), limits, orch.read_services)
        tasks = await ask(place.host, orch.tasks_of(place.docker, app), limits, orch.read_tasks)
        told = tuple(replace(one, message=mask(one.message)) for one in services)
        return told, tuple(replace(one, error=mask(one.error)) for one in tasks)
