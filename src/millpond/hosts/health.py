"""Whether a deployed app is well beyond its containers: a URL that answers, a command that ends with 0."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from millpond.hosts.apps import Health
from millpond.hosts.commands import failure_text
from millpond.hosts.masking import Mask
from millpond.hosts.model import HostFailed
from millpond.hosts.ports import Asker, Host
from millpond.hosts.rollout import RolloutFailed

WELL = range(200, 400)
ONE_S = 10.0
"""How long one question may take."""


async def url_is_well(health: Health, asker: Asker, mask: Mask) -> None:
    """Ask the app's URL until it answers well. Raises `RolloutFailed` when the time is over."""

    async def ask(patience_s: float) -> str:
        try:
            status = await asker.status(health.url, patience_s)
        except OSError as error:
            return mask.brief(str(error)) or "no answer"
        return "" if status in WELL else f"status {status}"

    if health.url:
        await _until_well(health, "the health check's URL", ask)


async def command_is_well(health: Health, host: Host, mask: Mask) -> None:
    """Run the app's command on a host until it ends with 0. Raises `RolloutFailed` when the time is over."""

    async def ask(patience_s: float) -> str:
        try:
            done = await host.run(health.command, timeout_s=patience_s)
        except HostFailed as error:
            return error.told
        return "" if done.ok else f"rc={done.rc}: {failure_text(done, mask.brief)}"

    if health.command:
        await _until_well(health, f"the health check's command on {host.name}", ask)


async def _until_well(health: Health, what: str, ask: Callable[[float], Awaitable[str]]) -> None:
    until = time.monotonic() + health.timeout_s
    while True:
        wrong = await ask(min(max(until - time.monotonic(), 1.0), ONE_S))
        if not wrong:
            return
        if time.monotonic() + health.interval_s >= until:
            raise RolloutFailed(f"{what} does not say that it is well after {health.timeout_s:g} s: {wrong}")
        await asyncio.sleep(health.interval_s)
