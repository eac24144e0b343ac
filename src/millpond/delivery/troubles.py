"""Which troubles are known, so that each is logged when it begins, changes and ends, and not at each try. PURE."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST = 10_000
"""Things in trouble that are remembered of an area; of more the oldest are forgotten, and told of again."""


@dataclass(slots=True)
class Troubles:
    """What troubles which thing, by area: those of an area that have the same trouble are told of once."""

    _of: dict[str, dict[str, str]] = field(default_factory=dict)
    _counts: dict[str, Counter[str]] = field(default_factory=dict)

    def new(self, area: str, thing: str, trouble: str) -> bool:
        """Note what troubles a thing; True: nothing else of its area had the same trouble, so it is to be told."""
        trouble = trouble or "unknown"
        counts = self._counts.setdefault(area, Counter())
        told = counts[trouble] > 0
        self._forget(area, thing)
        things = self._of.setdefault(area, {})
        while len(things) >= MOST:
            self._forget(area, next(iter(things)))
        things[thing] = trouble
        counts[trouble] += 1
        return not told

    def over(self, area: str, thing: str) -> bool:
        """Note that a thing is well; True: it was the last one with its trouble, so that is to be told."""
        trouble = self._forget(area, thing)
        return bool(trouble) and not self._counts[area][trouble]

    def _forget(self, area: str, thing: str) -> str:
        trouble = self._of.get(area, {}).pop(thing, "")
        if trouble:
            self._counts[area][trouble] -= 1
            if not self._counts[area][trouble]:
                del self._counts[area][trouble]
        return trouble
