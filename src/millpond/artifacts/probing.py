"""Names that point at content (a registry's tags): asked by HEAD whether they have moved, before anything is fetched.

The upstream's HEAD tells the digest. Is it that of the good copy, the copy is fresh again and nothing was fetched. An
upstream that counts what is fetched (`ports.Rationed`) is spared when little is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from millpond.artifacts import freshness
from millpond.artifacts.formats.base import Format, Pinned
from millpond.artifacts.model import Checksum, Entry, Freshness, Reply, Settlement, Target, Unreachable
from millpond.artifacts.ports import Rationed, Upstream

NOT_HEADED = (405, 501)
"""How a server says that it has no HEAD."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks one repository's upstream."""

    format: Format
    upstream: Upstream
    policy: Freshness

    async def look(self, target: Target, good: Entry, url: str, now: float) -> Settlement | None:
        """Ask whether `good` is still what the name points at; None: it is not, or that can't be told, so fetch.

        Raises `UpstreamUnreachable`.
        """
        if not isinstance(self.format, Pinned) or not self.format.moves(target):
            return None
        async with self.upstream.request("HEAD", url, {"Accept": target.accept}) as reply:
            head = reply.head
        if head.status in NOT_HEADED:
            return None
        if head.status != freshness.OK:
            return self._settled(good, head, target, now)
        promised = self.format.told(target, head.headers)
        if promised is None:
            return None
        if f"{promised.algorithm}:{promised.hex}" == good.digest:
            return self._settled(good, replace(head, status=freshness.NOT_MODIFIED), target, now)
        short = self.upstream.short() if isinstance(self.upstream, Rationed) else ""
        if short:
            return self._settled(good, Unreachable(f"it has changed; {short}", "quota"), target, now)
        return None

    def promised(self, target: Target, head: Reply) -> tuple[Checksum, ...]:
        """Give what the head of a body promises of it."""
        told = self.format.told(target, head.headers) if isinstance(self.format, Pinned) else None
        return (told,) if told is not None else ()

    def _settled(self, good: Entry, answer: Reply | Unreachable, target: Target, now: float) -> Settlement:
        return freshness.settle(good, answer, target, self.policy, now)
