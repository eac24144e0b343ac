"""Whether hosts have images that no pre-pull sees to: those that were built there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from millpond.errors import BadRequest
from millpond.hosts import orchestrators as orch
from millpond.hosts.apps import AppOptions, Pinned, Resolved, Wanted
from millpond.hosts.commands import failure_text, read_string
from millpond.hosts.compose import built_as
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.rollout import Place
from millpond.hosts.together import together

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
            found = set(await together(one(place, image) for place in places))
            if len(found) != 1 or "" in found:
                why = "is not there on every host" if "" in found else "is another one on each host"
                text = f"{app.name}: {image}, which the service {name} is built as, {why}"
                raise BadRequest(f"{text}: build it once, push it, and name it as image: (or load it on each host)")
            (image_id,) = found
            pins[name] = Pinned(Wanted(image), image_id, image_id, local=True)
    return pins


async def _id_of(place: Place, image: str) -> str:
    limits = place.options.limits
    done = await place.host.run(orch.present(place.docker, image), timeout_s=limits.command_timeout_s)
    if not done.ok and any(word in done.err.lower() for word in _MISSING):
        return ""
    if not done.ok:
        raise HostFailed(place.host.name, failure_text(done), kind=Kind.TRANSIENT, reason="command", rc=done.rc)
    return read_string(done.out)
