"""What people of a Plane are called, for people to read. Who somebody is, is said by the id alone.

Plane names who wrote a comment by id. The members of a project (``members/``, a plain list of users with
``display_name``) are asked for at most now and then, with the requests that nobody waits for, and for a moment only: if
that fails, a person is called by the id, and nothing else comes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from millpond.adapters.httpjson import JsonApi
from millpond.adapters.planeitems import identifier
from millpond.delivery.model import Json
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.rates import Use

TTL_S = 3600.0
AGAIN_S = 300.0
"""How soon they are asked for again when somebody is not among them, or they could not be had."""
PATIENCE_S = 3.0
MAX_PEOPLE = 5000
MAX_PROJECTS = 1000
MAX_NAME = 80


@dataclass(slots=True)
class _Known:
    names: Mapping[str, str]
    at: float
    whole: bool
    """Whether the last question was answered."""


class People:
    """The members of each project, as they were a while ago at most."""

    def __init__(self, api: JsonApi, monotonic: Callable[[], float]) -> None:
        self._api, self._monotonic = api, monotonic
        self._known: dict[str, _Known] = {}

    async def named(self, place: str, ids: frozenset[str]) -> Mapping[str, str]:
        """Give the names of people by id, of those who have any. `place`: the project, as in an address."""
        known, now = self._known.get(place), self._monotonic()
        names = known.names if known is not None else {}
        if not ids:
            return names
        if known is not None and now - known.at < (TTL_S if known.whole and ids <= names.keys() else AGAIN_S):
            return names
        if known is None and len(self._known) >= MAX_PROJECTS:
            return names
        self._known[place] = _Known(names, now, whole=False)  # whoever asks meanwhile does not ask, too
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._api.ask("GET", f"{place}/members/", use=Use.LISTING)
        except (TrackerFailed, TimeoutError):
            return names
        if not answer.ok:
            return names
        names = _names(answer.body)
        self._known[place] = _Known(names, now, whole=True)
        return names


def _names(body: Json) -> dict[str, str]:
    """Read a list of users; what has no name is left out."""
    named: dict[str, str] = {}
    for one in body[:MAX_PEOPLE] if isinstance(body, list) else ():
        name = one.get("display_name") if isinstance(one, dict) else None
        if isinstance(name, str) and (shown := _shown(name)) and (key := identifier(one)):
            named[key] = shown
    return named


def _shown(name: str) -> str:
    """Write a name as one line: people choose theirs themselves."""
    return " ".join("".join(one if one.isprintable() else " " for one in name[: 4 * MAX_NAME]).split())[:MAX_NAME]
