"""The images of a release that is brought back: looked for on its hosts, and pulled where they are missing.

What is there is found by content, with no network. What is missing is pulled under the very name that the release has
it by, as a pre-pull does it: for its platform, again where that may help, with room made for it, and seen to be there
afterwards. It gets no tag: the app's own reference names what is deployed next, not what was. All hosts have
everything, or nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from millpond.errors import MillpondError
from millpond.hosts.apps import AppOptions, Pinned, Wanted
from millpond.hosts.commands import Unreadable, failure_text
from millpond.hosts.giving import Board, Giver, Lack, Means, Place, Told, ask
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.pulling import Facts, gone, read_facts
from millpond.hosts.references import parse_reference
from millpond.hosts.together import together

CANT = "can't be pulled: "


async def restore(
    app: AppOptions, images: Mapping[str, str], places: Sequence[Place], means: Means, told: Told
) -> None:
    """See that each host has each image (reference by content, or id -> platform, empty: the host's own).

    The hosts are leased. Raises `MillpondError`, naming image, host and cause, of all hosts.
    """
    pins = {Wanted(reference, platform): _pin(reference, platform) for reference, platform in images.items()}
    board, counts = Board((one.host.name for one in places), len(pins)), Counter(dict.fromkeys(images, 1))
    turn = asyncio.Semaphore(app.parallel)

    async def look(place: Place) -> Lack | None:
        async with turn:
            try:
                facts = await _facts(place, images)
            except HostFailed as error:
                board.change(place.host.name, error=error.told)
                return None
            except Unreadable as error:
                board.change(place.host.name, error=str(error))
                return None
        missing = gone(pins, facts)
        for pin in missing:
            if pin.local:
                text = "no registry has it (it was built or loaded there)"
                board.failed(facts.host, pin.reference, Kind.PERMANENT, text)
        return Lack(place, facts, [pin for pin in missing if not pin.local], counts)

    with means.underway.holding(board.hosts, images):
        lacks = [lack for lack in await together(map(look, places)) if lack is not None and lack.pins]
        if means.away:
            _give_up(app, board, lacks, means.away)
        if all(not state.error and not state.failures for state in board.hosts.values()):
            await Giver(app, board, means, told, {}).give(lacks)
    wrong = _wrong(board)
    if wrong:
        text = f"{app.name} can't be rolled back, and nothing was changed: {'; '.join(wrong)}"
        raise MillpondError(f"{text}. Start the pond or registry that has it, or choose another release with --to")


def _pin(reference: str, platform: str) -> Pinned:
    local = reference.startswith("sha256:")
    digest = reference if local else parse_reference(reference).digest
    return Pinned(Wanted(reference, platform), reference, digest, local)


async def _facts(place: Place, images: Mapping[str, str]) -> Facts:
    platform = await ask(place, place.docker.platform())
    if not platform.ok:
        raise Unreadable(f"rc={platform.rc}: {failure_text(platform)}")
    return read_facts(place.host.name, platform.out, await ask(place, place.docker.named_images(images)))


def _give_up(app: AppOptions, board: Board, lacks: Sequence[Lack], why: str) -> None:
    """Note what is missing, and only the pond could give."""
    for one in lacks:
        for pin in one.pins:
            if parse_reference(pin.reference).domain == app.pond:
                board.failed(one.place.host.name, pin.reference, Kind.PERMANENT, why)


def _wrong(board: Board) -> list[str]:
    """Say what is wrong on each host."""
    told: list[str] = []
    for name, state in board.hosts.items():
        told += [f"{name}: {state.error}"] if state.error else []
        for one in state.failures:
            lacking = f"{one.image} is not on {name}"
            told.append(f"{lacking}, and {'' if one.image.startswith('sha256:') else CANT}{one.text}")
    return told
