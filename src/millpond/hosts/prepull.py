"""Pre-pull: every host has every image of an app, by content, before anything is changed.

The hosts are asked what they have; what none of them has is pinned at the registry; the pond is warmed once for all
platforms; then hosts pull (`giving`), one first and the others side by side under the app's cap. What is there is never
pulled again, so that a run that was broken off anywhere is simply run again. Who calls holds the hosts' leases.
`pulling` decides; here it is carried out. Failures of images and hosts are values: all of them are told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from millpond.hosts.apps import AppFailed, AppKind, AppOptions, HostPull, Pinned, Prepulled, PullFrom, Resolved, Wanted
from millpond.hosts.commands import Unreadable, failure_text
from millpond.hosts.giving import Board, Giver, Lack, Means, Place, Told, ask, run_pull, tag, within
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.ports import Layers, NotPulled
from millpond.hosts.pulling import (
    Facts,
    Known,
    Loaded,
    Then,
    Torn,
    after,
    choose,
    gone,
    lacking,
    pinned,
    platforms,
    read_facts,
)  # fmt: skip
from millpond.hosts.references import canonical, parse_reference
from millpond.hosts.together import together

PINS_AT_ONCE = 4
WARMS_AT_ONCE = 4
"""Images that the pond fetches at a time."""
POND = "pond"


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
        self._board = Board(self._places, len(self._wanted))
        self._facts: dict[str, Facts] = {}
        self._pins: dict[Wanted, Pinned] = {}
        self._layers: dict[str, Layers] = {}
        self._turn, self._warming = asyncio.Semaphore(app.parallel), asyncio.Semaphore(WARMS_AT_ONCE)

    async def whole(self, *, refresh: bool, dry_run: bool) -> Prepulled:
        """Carry it out."""
        names = {one: self._pull_name(one) for one in self._wanted}
        with self._means.underway.holding(self._places, self._roots()):  # before the looks: what they find stays
            self._told("asking the hosts what they have", 0, None)
            await together(self._look(place, names) for place in self._places.values())
            if self._facts:
                await self._pin_all(names, refresh=refresh, dry_run=dry_run)
                await together(self._look_again(self._places[name], dry_run=dry_run) for name in list(self._facts))
                self._note_present()
            if not dry_run and not self._board.stopped and self._facts:
                with self._means.underway.holding(self._facts, [pin.reference for pin in self._pins.values()]):
                    await self._give_all()
        return Prepulled(dict(self._pins), dict(self._board.hosts))

    def _roots(self) -> list[str]:
        """Give what the images are known by before they are pinned."""
        digests = (parse_reference(one.reference).digest for one in self._wanted)
        return [*(one.reference for one in self._wanted), *filter(None, digests)]

    async def _give_all(self) -> None:
        """Give hosts what they lack, and see that all of it is there in the end."""
        lacks = self._lacks()
        if self._means.away and self._app.pull is PullFrom.POND and lacks:
            image, host = lacks[0].pins[0].wanted.reference, lacks[0].place.host.name
            raise AppFailed(self._app.name, f"{image} is not on {host}, and can't be pulled: {self._means.away}")
        await self._warm_all()
        if not self._board.stopped:
            await Giver(self._app, self._board, self._means, self._told, self._layers).give(self._lacks())
            await together(self._see(self._places[name]) for name in self._facts if self._board.hosts[name].ok)

    async def _see(self, place: Place) -> None:
        """Look for everything once more: pulls take long, room was made for them, and others remove images too."""
        name = place.host.name
        try:
            async with self._turn:
                asked = place.docker.named_images([pin.reference for pin in self._pins.values()])
                found = read_facts(name, "", await ask(place, asked))
        except HostFailed as error:
            self._board.change(name, error=error.told, kind=error.kind)
        except Unreadable as error:
            self._board.change(name, error=str(error))
        else:
            for pin in gone(self._pins, found):
                text = f"{pin.reference} was there, and was removed meanwhile: run it again"
                count = sum(other.reference == pin.reference for other in self._pins.values())
                self._board.failed(name, pin.wanted.reference, Kind.TRANSIENT, text)
                self._board.change(name, succeeded=self._board.hosts[name].succeeded - count)

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
                self._board.change(place.host.name, error=error.told, kind=error.kind)
            except Unreadable as error:
                self._board.change(place.host.name, error=str(error))

    async def _facts_of(self, place: Place, names: Mapping[Wanted, str]) -> Facts:
        asked = []
        for wanted, name in names.items():
            reference = parse_reference(wanted.reference)
            asked += [f"{reference.name}@{reference.digest}", f"{name}@{reference.digest}"] if reference.digest else []
            asked += [] if reference.digest else [wanted.reference]
        platform = await ask(place, place.docker.platform())
        if not platform.ok:
            raise Unreadable(f"rc={platform.rc}: {failure_text(platform)}")
        return read_facts(place.host.name, platform.out, await ask(place, place.docker.named_images(asked)))

    # One digest for each.

    async def _pin_all(self, names: Mapping[Wanted, str], *, refresh: bool, dry_run: bool) -> None:
        turn = asyncio.Semaphore(PINS_AT_ONCE)
        facts = self._in_order()

        async def one(wanted: Wanted) -> None:
            async with turn:
                try:
                    pin = await self._pin(wanted, names[wanted], facts, refresh=refresh, dry_run=dry_run)
                except NotPulled as error:
                    self._board.image_failed(wanted.reference, error.kind, error.text)
                except (HostFailed, Unreadable) as error:
                    self._board.image_failed(wanted.reference, Kind.TRANSIENT, str(error))
                else:
                    if pin is not None:
                        self._pins[wanted] = pin

        await together(map(one, self._wanted))
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
        digest = await self._asked(wanted, facts, refresh=refresh, dry_run=dry_run)
        return pinned(wanted, digest, name, facts) if digest else None

    async def _asked(self, wanted: Wanted, facts: Sequence[Facts], *, refresh: bool, dry_run: bool) -> str:
        """Ask for a tag's digest: the pond, or, of registries that it does not know, the first host's engine.

        That one has the credentials, and what it pulls it keeps. Empty: a dry run, which must not pull.
        """
        registry, reference = self._means.registry, parse_reference(wanted.reference)
        if self._app.pull is PullFrom.DIRECT:
            try:
                registry.name(reference)
            except NotPulled:
                return "" if dry_run else await self._pulled_by_tag(wanted, facts[0])
        asking = self._patiently(lambda: registry.pin(reference, wanted.platform, refresh=refresh))
        return await within(self._app.pull_timeout_s, asking)

    async def _pulled_by_tag(self, wanted: Wanted, facts: Facts) -> str:
        place = self._places[facts.host]
        argv = place.docker.pull(wanted.reference, wanted.platform)
        await self._patiently(lambda: run_pull(place, argv, self._app.pull_timeout_s), place)
        found = read_facts(facts.host, "", await ask(place, place.docker.named_images([wanted.reference])))
        match choose(wanted, parse_reference(wanted.reference).name, [found]):
            case Known(digest):
                self._found(facts.host, found)
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

    async def _look_again(self, place: Place, *, dry_run: bool) -> None:
        """Look by digest for what was not found by name: a run that was broken off has pulled it, or its tag moved.

        It gets the app's own reference, and is not pulled.
        """
        name = place.host.name
        missing = lacking(self._pins, self._facts[name])
        if not missing:
            return
        async with self._turn:
            try:
                asked = place.docker.named_images([pin.reference for pin in missing])
                self._found(name, read_facts(name, "", await ask(place, asked)))
                for pin in missing:
                    if not dry_run and self._facts[name].holds(canonical(pin.reference)):
                        await tag(place, pin)
            except NotPulled as error:
                self._drop_out(name, error.text, error.kind)
            except HostFailed as error:
                self._drop_out(name, error.told, error.kind)
            except Unreadable as error:
                self._drop_out(name, str(error))

    def _found(self, name: str, found: Facts) -> None:
        known = self._facts[name]
        self._facts[name] = replace(known, images=(*known.images, *found.images))

    def _drop_out(self, name: str, error: str, kind: Kind = Kind.PERMANENT) -> None:
        """Go on without a host."""
        self._board.change(name, error=error, kind=kind)
        del self._facts[name]

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
        await together(self._warm(pin, sorted(needed)) for pin, needed in by_reference.values())

    async def _warm(self, pin: Pinned, needed: Sequence[str]) -> None:
        reference = replace(parse_reference(pin.wanted.reference), tag="", digest=pin.digest)

        async def once() -> None:
            self._layers[pin.reference] = await self._means.registry.warm(
                reference, needed, lambda done, total: self._told(f"{POND}: {pin.wanted.reference}", done, total)
            )

        try:
            async with self._warming:
                await within(self._app.pull_timeout_s, self._patiently(once))
        except NotPulled as error:
            self._board.image_failed(pin.wanted.reference, error.kind, error.text)

    # What is told.

    def _note_present(self) -> None:
        """Count what is there already."""
        for facts in self._facts.values():
            missing = {pin.reference for pin in lacking(self._pins, facts)}
            there = sum(pin.reference not in missing for pin in self._pins.values())
            self._board.change(facts.host, succeeded=there)
            for _ in range(there):
                self._means.measured(facts.host, "present", 0)

    def _lacks(self) -> list[Lack]:
        """Say what each host lacks, in order."""
        counts = Counter(pin.reference for pin in self._pins.values())
        found = [(one, lacking(self._pins, one)) for one in self._in_order()]
        return [Lack(self._places[one.host], one, pins, counts) for one, pins in found if pins]
