"""Whether hosts have images that no pre-pull sees to: of a release that is brought back, and what was built there.

What is there is found by digest, with no network. What is missing is pulled under the name that the release has it by:
through the pond, which keeps it, or directly. All hosts have everything, or nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from millpond.errors import BadRequest, MillpondError
from millpond.hosts import orchestrators as orch
from millpond.hosts.apps import AppOptions, Pinned, Resolved, Wanted
from millpond.hosts.commands import failure_text, read_string
from millpond.hosts.compose import built_as
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.rollout import Place

_MISSING = ("no such image", "no such object")


async def built(app: AppOptions, places: Sequence[Place], resolved: Resolved) -> dict[str, Pinned]:
    """Pin the images of services that are only built, by service: each host must have the same one, by its id.

    Hosts are asked side by side, under the app's cap. Raises `BadRequest`, `HostFailed`.
    """
    turn = asyncio.Semaphore(app.parallel)

    async def one(place: Place, image: str) -> str:
        async with turn:
            return await _id_of(place, image)

    pins: dict[str, Pinned] = {}
    for name, service in resolved.document.get("services", {}).items():
        if name not in resolved.services:
            image = built_as(name, service, app)
            found = set(await _all(one(place, image) for place in places))
            if len(found) != 1 or "" in found:
                why = "is not there on every host" if "" in found else "is another one on each host"
                text = f"{app.name}: {image}, which the service {name} is built as, {why}"
                raise BadRequest(f"{text}: build it once, push it, and name it as image: (or load it on each host)")
            (image_id,) = found
            pins[name] = Pinned(Wanted(image), image_id, image_id, local=True)
    return pins


async def _all(work: Iterable[Coroutine[Any, Any, str]]) -> list[str]:
    """Do everything; the first fault ends the rest. Raises `HostFailed`."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]


async def _id_of(place: Place, image: str) -> str:
    limits = place.options.limits
    done = await place.host.run(orch.present(place.docker, image), timeout_s=limits.command_timeout_s)
    if not done.ok and any(word in done.err.lower() for word in _MISSING):
        return ""
    if not done.ok:
        raise HostFailed(place.host.name, failure_text(done), kind=Kind.TRANSIENT, reason="command", rc=done.rc)
    return read_string(done.out)


async def ensure_present(app: AppOptions, places: Sequence[Place], images: Sequence[str]) -> None:
    """See that each host has each image. Raises `MillpondError`, naming image, host and cause, of all hosts."""
    turn = asyncio.Semaphore(app.parallel)

    async def one(place: Place) -> list[str]:
        async with turn:
            try:
                return [wrong for image in images if (wrong := await _lacks(app, place, image))]
            except HostFailed as error:
                return [f"{place.host.name}: {error.told}"]

    wrong = [text for texts in await asyncio.gather(*map(one, places)) for text in texts]
    if wrong:
        text = f"{app.name} can't be rolled back, and nothing was changed: {'; '.join(wrong)}"
        raise MillpondError(f"{text}. Start the pond or registry that has it, or choose another release with --to")


async def _lacks(app: AppOptions, place: Place, image: str) -> str:
    """Say what is wrong with one image on one host; empty: it is there (now). Raises `HostFailed`."""
    host, limits = place.host, place.options.limits
    done = await host.run(orch.present(place.docker, image), timeout_s=limits.command_timeout_s)
    if done.ok:
        return ""
    if not any(word in done.err.lower() for word in _MISSING):
        return f"{host.name}: rc={done.rc}: {failure_text(done)}"
    if image.startswith("sha256:"):
        return f"{image} is not on {host.name}, and no registry has it (it was built or loaded there)"
    pulled = await host.run(orch.pull(place.docker, image), timeout_s=app.pull_timeout_s)
    return "" if pulled.ok else f"{image} is not on {host.name}, and can't be pulled: {failure_text(pulled)}"
