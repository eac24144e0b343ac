"""Whether hosts have the images of a release that is to be brought back, and giving them what they lack.

What is there is found by digest, with no network. What is missing is pulled under the name that the release has it by:
through the pond, which keeps it, or directly. All hosts have everything, or nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from millpond.errors import MillpondError
from millpond.hosts import orchestrators as orch
from millpond.hosts.apps import AppOptions
from millpond.hosts.commands import failure_text
from millpond.hosts.model import HostFailed
from millpond.hosts.rollout import Place

_MISSING = ("no such image", "no such object")


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
