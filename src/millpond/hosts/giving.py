"""Gives hosts the images that they lack: pull, look, tag; after each failure what that kind is worth.

Part of a pre-pull (`prepull`), which decides what each host lacks. How far each host is stands on the `Board`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog

from millpond.hosts.apps import AppOptions, HostPull, Pinned, PullFailure, PullFrom
from millpond.hosts.commands import Argv, Docker, Unreadable, brief, failure_text, pull_failure
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.ports import Heard, Host, Layers, NotPulled, Registry
from millpond.hosts.pulling import Facts, Pulled, Then, after, platforms, read_facts
from millpond.hosts.references import canonical, parse_reference
from millpond.hosts.together import together

T = TypeVar("T")
Told = Callable[[str, int, int | None], None]
SAID = 120
"""Characters of an engine's own words beside ours."""
log = structlog.get_logger(__name__)


class Place(Protocol):
    """A host with its options."""

    @property
    def host(self) -> Host:
        """Runs commands there."""

    @property
    def options(self) -> HostOptions:
        """How it is configured."""

    @property
    def docker(self) -> Docker:
        """The command lines for its engine."""


class Underway:
    """What is being pre-pulled: roots for the disk watchdog."""

    def __init__(self) -> None:
        self._held: list[tuple[str, frozenset[str]]] = []

    async def protected(self, host: str) -> Collection[str]:
        """Give the references and ids that must stay on a host."""
        return frozenset(one for name, held in self._held if name == host for one in held)

    @contextmanager
    def holding(self, hosts: Iterable[str], references: Iterable[str]) -> Iterator[None]:
        """Keep images on hosts meanwhile."""
        mine = [(host, frozenset(references)) for host in hosts]
        self._held += mine
        try:
            yield
        finally:
            for one in mine:
                self._held.remove(one)


@dataclass(frozen=True, slots=True)
class Means:
    """What a pre-pull works with besides the hosts."""

    registry: Registry
    make_room: Callable[[str], Awaitable[bool]]
    """Makes room on a host, once; whether anything went. Never raises `HostFailed`."""
    underway: Underway = field(default_factory=Underway)
    measured: Callable[[str, str, int], None] = lambda _host, _outcome, _bytes: None
    """Told a host, how a pull ended (pulled, present, or the failure's kind), and its bytes."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    away: str = ""
    """Why hosts can't pull through the pond, and what to do; empty: they can."""


class Board:
    """How far each host is."""

    def __init__(self, hosts: Iterable[str], desired: int) -> None:
        self.hosts = {name: HostPull(desired) for name in hosts}
        self.stopped = False
        """Whether an image can't be had at all."""

    def change(self, name: str, **changes: object) -> None:
        """Note how far a host is."""
        self.hosts[name] = replace(self.hosts[name], **changes)  # type: ignore[arg-type]

    def failed(self, name: str, image: str, kind: Kind, text: str) -> None:
        """Note an image that a host could not be given."""
        failures = (*self.hosts[name].failures, PullFailure(image, kind, brief(text)))
        self.change(name, active=0, failures=failures)

    def image_failed(self, image: str, kind: Kind, text: str) -> None:
        """Note what no host can be given."""
        self.stopped = True
        for name, state in self.hosts.items():
            if not state.error:
                self.failed(name, image, kind, text)


async def ask(place: Place, argv: Argv) -> Completed:
    """Ask a host's engine. Raises `HostFailed`, `Unreadable`."""
    done = await place.host.run(argv, timeout_s=place.options.limits.command_timeout_s)
    if done.truncated:
        raise Unreadable("it answered with more than can be read")
    return done


async def run_pull(place: Place, argv: Argv, timeout_s: float, heard: Heard | None = None) -> None:
    """Pull. Raises `NotPulled`, classed; `HostFailed`."""
    done = await place.host.run(argv, timeout_s=timeout_s, heard=heard)
    if not done.ok:
        raise NotPulled(failure_text(done), kind=pull_failure(f"{done.err}\n{done.out}"))


async def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Have the pond fetch something, in time. Raises `NotPulled` where the time is over, and what the work raises."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        text = f"the pond did not get it within {timeout_s:g} s (pull_timeout_s): is the registry slow?"
        raise NotPulled(text, kind=Kind.TRANSIENT) from None


async def tag(place: Place, pin: Pinned) -> None:
    """Let the app's own reference name an image, so that it is found by that the next time, with no network.

    Raises `NotPulled`, `HostFailed`, `Unreadable`.
    """
    if not parse_reference(pin.wanted.reference).digest:
        done = await ask(place, place.docker.tag(pin.reference, pin.wanted.reference))
        if not done.ok:
            raise NotPulled(f"it can't be tagged: {failure_text(done)}", kind=pull_failure(done.err))


@dataclass(frozen=True, slots=True)
class Lack:
    """What one host lacks, and how many of the app's images each one stands for."""

    place: Place
    facts: Facts
    pins: Sequence[Pinned]
    counts: Mapping[str, int]


class Giver:
    """Gives hosts what they lack; `layers` are the sizes of each reference's blobs, as far as they are known."""

    def __init__(self, app: AppOptions, board: Board, means: Means, told: Told, layers: Mapping[str, Layers]) -> None:
        self._app, self._board, self._means, self._told, self._layers = app, board, means, told, layers
        self._turn = asyncio.Semaphore(app.parallel)

    async def give(self, lack: Sequence[Lack]) -> None:
        """Give the first host what it lacks, then the others: they meet a registry that has served it once."""
        for one in lack[:1]:
            await self._give(one)
        await together(map(self._give, lack[1:]))

    async def _give(self, lack: Lack) -> None:
        async with self._turn:
            name = lack.facts.host
            try:
                for pin in lack.pins:
                    await self._give_one(lack, pin)
            except HostFailed as error:
                self._board.change(name, active=0, error=error.told, kind=error.kind)
            except Unreadable as error:
                self._board.change(name, active=0, error=str(error))

    async def _give_one(self, lack: Lack, pin: Pinned) -> None:
        name, count = lack.facts.host, lack.counts[pin.reference]
        self._board.change(name, active=count)
        try:
            size = await self._pull(lack, pin)
        except NotPulled as error:
            log.warning("an image could not be pulled", host=name, image=pin.wanted.reference, error=error.text)
            self._means.measured(name, error.kind.value, 0)
            self._board.failed(name, pin.wanted.reference, error.kind, self._advised(lack, pin, error))
        else:
            self._means.measured(name, "pulled", size)
            self._board.change(name, active=0, succeeded=self._board.hosts[name].succeeded + count)

    def _advised(self, lack: Lack, pin: Pinned, error: NotPulled) -> str:
        """Say what to do about a pond that gives nothing to hosts without a token."""
        name = parse_reference(pin.reference)
        if error.kind is not Kind.CREDENTIALS or self._app.pull is PullFrom.DIRECT or name.domain != self._app.pond:
            return error.text
        host, user = lack.facts.host, lack.place.options.address.user
        make = f"millpond token create {host} --scope read:{name.path.partition('/')[0]}"
        login = f"`docker login {name.domain} -u token` on {host}{user and f' as {user}'}"
        return f"the pond wants a token: `{make}`, then {login} ({brief(error.text)[:SAID]})"

    async def _pull(self, lack: Lack, pin: Pinned) -> int:
        """Pull one image, as often as its failures are worth it, and see that it is there. Gives its bytes."""
        place, failures = lack.place, list[Kind]()
        sizes = self._layers.get(pin.reference, {}).get(pin.wanted.platform or lack.facts.platform, {})
        while True:
            try:
                await self._pull_once(place, pin, sizes)
                return sum(sizes.values())
            except NotPulled as error:
                failures.append(error.kind)
                then, wait_s = after(failures, error.retry_after_s)
                if then is Then.FAIL or (then is Then.ROOM and not await self._means.make_room(place.host.name)):
                    raise
                if then is Then.DROP:
                    await self._drop(lack, pin)
            except HostFailed as error:
                failures.append(error.kind)
                then, wait_s = after(failures)
                if error.reason == "timeout" or then is not Then.AGAIN:
                    raise
            await self._means.sleep(wait_s)

    async def _pull_once(self, place: Place, pin: Pinned, sizes: Mapping[str, int]) -> None:
        name, read = place.host.name, Pulled(sizes)
        text = f"{name}: {pin.wanted.reference}"
        self._told(text, 0, read.total or None)
        argv = place.docker.pull(pin.reference, pin.wanted.platform)
        await run_pull(
            place, argv, self._app.pull_timeout_s, lambda piece: self._told(text, read.hear(piece), read.total or None)
        )
        found = read_facts(name, "", await ask(place, place.docker.named_images([pin.reference])))
        if not found.holds(canonical(pin.reference)):
            raise NotPulled(f"{pin.reference} is not there after its pull", kind=Kind.CORRUPT)
        await tag(place, pin)
        self._told(text, read.total or 1, read.total or 1)

    async def _drop(self, lack: Lack, pin: Pinned) -> None:
        """Take from the pond what is damaged of an image, and fetch that anew."""
        log.warning("an image arrived damaged", host=lack.facts.host, image=pin.reference)
        if self._app.pull is PullFrom.DIRECT:
            return
        reference = replace(parse_reference(pin.wanted.reference), tag="", digest=pin.digest)
        dropped = await self._means.registry.drop(reference)
        log.warning("the pond was looked through for it", image=pin.reference, dropped=dropped)
        warming = self._means.registry.warm(reference, platforms(pin, [lack.facts]), lambda *_: None)
        await within(self._app.pull_timeout_s, warming)
