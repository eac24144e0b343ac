"""Pre-pull: every host has every image of an app, by content, before anything is changed.

The hosts are asked what they have; what none of them has is pinned at the registry; the pond is warmed once for all
platforms; then hosts pull, one first and the others side by side under the app's cap. What is there is never pulled
again, so that a run that was broken off anywhere is simply run again. Who calls holds the hosts' leases.
`pulling` decides; here it is carried out. Failures of images and hosts are values: all of them are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from millpond.hosts.apps import (
    AppFailed,
    AppKind,
    AppOptions,
    HostPull,
    Pinned,
    Prepulled,
    PullFailure,
    PullFrom,
    Resolved,
    Wanted,
)  # fmt: skip
from millpond.hosts.commands import Argv, Docker, Unreadable, brief, failure_text, pull_failure
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.ports import Heard, Host, Layers, NotPulled, Registry
from millpond.hosts.pulling import (
    Facts,
    Known,
    Loaded,
    Pulled,
    Then,
    Torn,
    after,
    choose,
    lacking,
    pinned,
    platforms,
    read_facts,
)  # fmt: skip
from millpond.hosts.references import canonical, parse_reference

PINS_AT_ONCE = 4
Told = Callable[[str, int, int | None], None]
POND = "pond"
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


async def prepull(
    app: AppOptions,
    resolved: Resolved,
    places: Sequence[Place],
    means: Means,
    told: Told,
    *,
    refresh: bool = False,
    dry_run: bool = False,
) -> Prepulled:
    """Give every host every image; their leases are held. `refresh`: tags are asked for again at the registry.

    `dry_run`: nothing is pulled; `succeeded` is what is there. Raises `AppFailed` for what no host could do anything
    about.
    """
    if not resolved.wanted:
        return Prepulled({}, {place.host.name: HostPull(0) for place in places})
    return await _Run(app, resolved.wanted, places, means, told).whole(refresh=refresh, dry_run=dry_run)


class _Run:
    """One pre-pull."""

    def __init__(
        self, app: AppOptions, wanted: Sequence[Wanted], places: Sequence[Place], means: Means, told: Told
    ) -> None:
        self._app, self._wanted, self._means, self._told = app, tuple(wanted), means, told
        self._places = {place.host.name: place for place in places}
        self._state = {name: HostPull(len(self._wanted)) for name in self._places}
        self._facts: dict[str, Facts] = {}
        self._pins: dict[Wanted, Pinned] = {}
        self._layers: dict[str, Layers] = {}
        self._turn = asyncio.Semaphore(app.parallel)
        self._failed = False

    async def whole(self, *, refresh: bool, dry_run: bool) -> Prepulled:
        """Carry it out."""
        names = {one: self._pull_name(one) for one in self._wanted}
        self._told("asking the hosts what they have", 0, None)
        await asyncio.gather(*(self._look(place, names) for place in self._places.values()))
        if self._facts:
            await self._pin_all(names, refresh=refresh, dry_run=dry_run)
            self._note_present()
        if not dry_run and not self._failed and self._facts:
            references = [one.reference for one in self._wanted]
            references += [pin.reference for pin in self._pins.values()]
            with self._means.underway.holding(self._facts, references):
                await self._warm_all()
                if not self._failed:
                    await self._give_all()
        return Prepulled(dict(self._pins), dict(self._state))

    def _pull_name(self, wanted: Wanted) -> str:
        reference = parse_reference(wanted.reference)
        if self._app.pull is PullFrom.DIRECT:
            return reference.name
        try:
            return self._means.registry.name(reference)
        except NotPulled as error:
            raise AppFailed(self._app.name, error.text) from None

    # What is there.

    async def _look(self, place: Place, names: Mapping[Wanted, str]) -> None:
        async with self._turn:
            try:
                self._facts[place.host.name] = await self._facts_of(place, names)
            except HostFailed as error:
                self._change(place.host.name, error=error.told)
            except Unreadable as error:
                self._change(place.host.name, error=str(error))

    async def _facts_of(self, place: Place, names: Mapping[Wanted, str]) -> Facts:
        asked = []
        for wanted, name in names.items():
            reference = parse_reference(wanted.reference)
            asked += [f"{reference.name}@{reference.digest}", f"{name}@{reference.digest}"] if reference.digest else []
            asked += [] if reference.digest else [wanted.reference]
        platform = await self._ask(place, place.docker.platform())
        if not platform.ok:
            raise Unreadable(f"rc={platform.rc}: {failure_text(platform)}")
        return read_facts(place.host.name, platform.out, await self._ask(place, place.docker.named_images(asked)))

    async def _ask(self, place: Place, argv: Argv) -> Completed:
        done = await place.host.run(argv, timeout_s=place.options.limits.command_timeout_s)
        if done.truncated:
            raise Unreadable("it answered with more than can be read")
        return done

    # One digest for each.

    async def _pin_all(self, names: Mapping[Wanted, str], *, refresh: bool, dry_run: bool) -> None:
        turn = asyncio.Semaphore(PINS_AT_ONCE)
        facts = self._in_order()

        async def one(wanted: Wanted) -> None:
            async with turn:
                try:
                    pin = await self._pin(wanted, names[wanted], facts, refresh=refresh, dry_run=dry_run)
                except NotPulled as error:
                    self._image_failed(wanted.reference, error.kind, error.text)
                else:
                    if pin is not None:
                        self._pins[wanted] = pin

        await asyncio.gather(*map(one, self._wanted))
        self._pins = {one: self._pins[one] for one in self._wanted if one in self._pins}

    def _in_order(self) -> list[Facts]:
        return [self._facts[name] for name in self._places if name in self._facts]

    async def _pin(
        self, wanted: Wanted, name: str, facts: Sequence[Facts], *, refresh: bool, dry_run: bool
    ) -> Pinned | None:
        match choose(wanted, name, facts, refresh=refresh):
            case Known(digest):
                return pinned(wanted, digest, name, facts)
            case Loaded(image_id):
                if self._app.kind is AppKind.SWARM:
                    text = f"{wanted.reference} was built or loaded on the hosts, and a swarm runs only what a registry"
                    raise NotPulled(f"{text} has: push it", kind=Kind.PERMANENT)
                return Pinned(wanted, image_id, image_id, local=True)
            case Torn(text):
                raise NotPulled(text, kind=Kind.PERMANENT)
        self._told(f"pinning {wanted.reference}", 0, None)
        digest = await self._asked(wanted, facts, dry_run=dry_run)
        return pinned(wanted, digest, name, facts) if digest else None

    async def _asked(self, wanted: Wanted, facts: Sequence[Facts], *, dry_run: bool) -> str:
        """Ask for a tag's digest: the pond, or, of registries that it does not know, the first host's engine.

        That one has the credentials, and what it pulls it keeps. Empty: a dry run, which must not pull.
        """
        registry, reference = self._means.registry, parse_reference(wanted.reference)
        if self._app.pull is PullFrom.DIRECT:
            try:
                registry.name(reference)
            except NotPulled:
                return "" if dry_run else await self._pulled_by_tag(wanted, facts[0])
        return await self._patiently(lambda: registry.pin(reference, wanted.platform))

    async def _pulled_by_tag(self, wanted: Wanted, facts: Facts) -> str:
        place = self._places[facts.host]
        argv = place.docker.pull(wanted.reference, wanted.platform)
        await self._patiently(lambda: self._run_pull(place, argv, None), place)
        found = read_facts(facts.host, "", await self._ask(place, place.docker.named_images([wanted.reference])))
        match choose(wanted, parse_reference(wanted.reference).name, [found]):
            case Known(digest):
                self._facts[facts.host] = replace(facts, images=(*facts.images, *found.images))
                return digest
        raise NotPulled(f"{wanted.reference} was pulled to {facts.host}, which tells no digest", kind=Kind.PERMANENT)

    async def _patiently(self, work: Callable[[], Awaitable[object]], place: Place | None = None) -> str:
        """Do the work, again where that may help. Raises `NotPulled`, the last one; `HostFailed`."""
        failures: list[Kind] = []
        while True:
            try:
                return str(await work())
            except NotPulled as error:
                failures.append(error.kind)
                then, wait_s = after(failures, error.retry_after_s)
                room = then is Then.ROOM and place is not None and await self._means.make_room(place.host.name)
                if not (then is Then.AGAIN or room):
                    raise
                await self._means.sleep(wait_s)
            except HostFailed as error:
                raise NotPulled(f"{error.host}: {error.told}", kind=error.kind) from error

    # Through the pond, once.

    async def _warm_all(self) -> None:
        if self._app.pull is PullFrom.DIRECT:
            return
        facts = self._in_order()
        by_reference: dict[str, tuple[Pinned, set[str]]] = {}
        for one in facts:
            for pin in lacking(self._pins, one):
                wanted = [other for other in self._pins.values() if other.reference == pin.reference]
                needed = {place for other in wanted for place in platforms(other, [one])}
                by_reference.setdefault(pin.reference, (pin, set()))[1].update(needed)
        await asyncio.gather(*(self._warm(pin, sorted(needed)) for pin, needed in by_reference.values()))

    async def _warm(self, pin: Pinned, needed: Sequence[str]) -> None:
        reference = replace(parse_reference(pin.wanted.reference), tag="", digest=pin.digest)

        async def once() -> None:
            self._layers[pin.reference] = await self._means.registry.warm(
                reference, needed, lambda done, total: self._told(f"{POND}: {pin.wanted.reference}", done, total)
            )

        try:
            await self._patiently(once)
        except NotPulled as error:
            self._image_failed(pin.wanted.reference, error.kind, error.text)

    # To the hosts.

    def _note_present(self) -> None:
        """Count what is there already."""
        for facts in self._facts.values():
            missing = {pin.reference for pin in lacking(self._pins, facts)}
            there = sum(pin.reference not in missing for pin in self._pins.values())
            self._change(facts.host, succeeded=there)
            for _ in range(there):
                self._means.measured(facts.host, "present", 0)

    async def _give_all(self) -> None:
        """Give the first host what it lacks, then the others: they meet a registry that has served it once."""
        needing = [self._places[one.host] for one in self._in_order() if lacking(self._pins, one)]
        for place in needing[:1]:
            await self._give(place)
        await asyncio.gather(*map(self._give, needing[1:]))

    async def _give(self, place: Place) -> None:
        async with self._turn:
            name = place.host.name
            try:
                for pin in lacking(self._pins, self._facts[name]):
                    await self._give_one(place, pin)
            except HostFailed as error:
                self._change(name, active=0, error=error.told)
            except Unreadable as error:
                self._change(name, active=0, error=str(error))

    async def _give_one(self, place: Place, pin: Pinned) -> None:
        name, count = place.host.name, sum(one.reference == pin.reference for one in self._pins.values())
        self._change(name, active=count)
        try:
            size = await self._pull(place, pin)
        except NotPulled as error:
            log.warning("an image could not be pulled", host=name, image=pin.wanted.reference, error=error.text)
            self._means.measured(name, error.kind.value, 0)
            failure = PullFailure(pin.wanted.reference, error.kind, error.text)
            self._change(name, active=0, failures=(*self._state[name].failures, failure))
        else:
            self._means.measured(name, "pulled", size)
            self._change(name, active=0, succeeded=self._state[name].succeeded + count)

    async def _pull(self, place: Place, pin: Pinned) -> int:
        """Pull one image, as often as its failures are worth it, and see that it is there. Gives its bytes."""
        failures: list[Kind] = []
        sizes = self._sizes(place, pin)
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
                    await self._drop(place, pin)
            except HostFailed as error:
                failures.append(error.kind)
                then, wait_s = after(failures)
                if error.reason == "timeout" or then is not Then.AGAIN:
                    raise
            await self._means.sleep(wait_s)

    def _sizes(self, place: Place, pin: Pinned) -> Mapping[str, int]:
        wanted = pin.wanted.platform or self._facts[place.host.name].platform
        return self._layers.get(pin.reference, {}).get(wanted, {})

    async def _pull_once(self, place: Place, pin: Pinned, sizes: Mapping[str, int]) -> None:
        name, read = place.host.name, Pulled(sizes)
        text = f"{name}: {pin.wanted.reference}"
        self._told(text, 0, read.total or None)
        argv = place.docker.pull(pin.reference, pin.wanted.platform)
        await self._run_pull(place, argv, lambda piece: self._told(text, read.hear(piece), read.total or None))
        found = read_facts(name, "", await self._ask(place, place.docker.named_images([pin.reference])))
        if not found.holds(canonical(pin.reference)):
            raise NotPulled(f"{pin.reference} is not there after its pull", kind=Kind.CORRUPT)
        await self._tag(place, pin)
        self._told(text, read.total or 1, read.total or 1)

    async def _run_pull(self, place: Place, argv: Argv, heard: Heard | None) -> None:
        done = await place.host.run(argv, timeout_s=self._app.pull_timeout_s, heard=heard)
        if not done.ok:
            text = failure_text(done)
            raise NotPulled(text, kind=pull_failure(f"{done.err}\n{done.out}"))

    async def _tag(self, place: Place, pin: Pinned) -> None:
        """Let the app's own reference name it, so that it is found by that the next time, with no network."""
        reference = parse_reference(pin.wanted.reference)
        if not reference.digest:
            done = await self._ask(place, place.docker.tag(pin.reference, pin.wanted.reference))
            if not done.ok:
                raise NotPulled(f"it can't be tagged: {failure_text(done)}", kind=pull_failure(done.err))

    async def _drop(self, place: Place, pin: Pinned) -> None:
        """Take from the pond what is damaged of an image, and fetch that anew."""
        log.warning("an image arrived damaged", host=place.host.name, image=pin.reference)
        if self._app.pull is PullFrom.DIRECT:
            return
        reference = replace(parse_reference(pin.wanted.reference), tag="", digest=pin.digest)
        dropped = await self._means.registry.drop(reference)
        log.warning("the pond was looked through for it", image=pin.reference, dropped=dropped)
        await self._means.registry.warm(reference, platforms(pin, [self._facts[place.host.name]]), lambda *_: None)

    # What is told.

    def _image_failed(self, image: str, kind: Kind, text: str) -> None:
        """Note what no host can be given."""
        self._failed = True
        for name, state in self._state.items():
            if not state.error:
                self._change(name, failures=(*state.failures, PullFailure(image, kind, brief(text))))

    def _change(self, name: str, **changes: object) -> None:
        self._state[name] = replace(self._state[name], **changes)  # type: ignore[arg-type]
