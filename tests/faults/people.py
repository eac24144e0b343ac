"""The people of the chaos: who answers on the board, who chats, and who orders by the API until it is so.

What an issue meets goes by its number, so that the end is the same whatever happens on the way.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from tests.faults.chaos import World

SIXTH, TWELFTH = 6, 12
FIRST, SECOND, LAST = "shop", "till", "bank"
PROJECTS = (FIRST, SECOND, LAST)
TODAY = "the project's budget for today is spent"
ORDER_S = 5.0
AGAIN_S = 5.0
"""After how long a person sees that what was said was lost."""
ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cancel": ("cancel", {}),
    "verdict": ("verdict", {"approved": True}),
    "release": ("release", {}),
    "retry": ("retry", {}),
    "tomorrow": ("retry", {}),
}
"""What is ordered of the API."""


def is_cheap(number: int) -> bool:
    """Whether an issue has a budget that does not suffice; all are the first project's."""
    return number % SIXTH == 0


def is_commanded(number: int) -> bool:
    """Whether it is approved by command, and nothing is said of it on the board; the second project's."""
    return number % SIXTH == 4


def is_taken_back(number: int) -> bool:
    """Whether it is cancelled by command when it waits for a verdict; the second project's."""
    return number % TWELFTH == 1


class People:
    """See the module. `orders` are those that are given at present.

    `cancel` and `verdict` are given to those that wait for it, `release` and `retry` to those whose budget does not
    suffice, which are parked again; `tomorrow` lets those go on that the day's budget did not suffice for.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.orders: Collection[str] = ()
        self.answered: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self._at: dict[str, float] = {}

    def answer(self) -> None:
        """Approve on the board what asks for a verdict, once for each time that it asks.

        Once more where that is lost: a move of ours and a person's can meet, and the tracker knows no "only if".
        """
        world, now = self._world, time.monotonic()
        for name in PROJECTS:
            rows, needs = world.plane.projects[name], world.states[name]["Needs Input"]
            asked = Counter(one["issue"] for one in rows["comments"] if "waits for a verdict" in one["comment_html"])
            for item in rows["items"]:
                key, number = item["id"], number_of(item["name"])
                if item["state"] != needs or is_commanded(number) or is_taken_back(number):
                    continue
                lost = self.answered[key] and now - self._at[key] > AGAIN_S and key in self._waiting()
                if self.answered[key] < asked[key] or lost:
                    self.answered[key] += self.answered[key] < asked[key]
                    self._at[key] = now
                    world.plane.place(name, key, world.states[name]["Approved"])

    def _waiting(self) -> set[str]:
        rows = self._world.tables("SELECT issue FROM delivery_tasks WHERE stage = 'test' AND phase = 'gated'")
        return {issue for (issue,) in rows}

    def chatter(self) -> None:
        """Say something that means nothing, about some issue."""
        world = self._world
        name = world.rng.choice(PROJECTS)
        items = world.plane.projects[name]["items"]
        if items:
            words = world.rng.choice(["hm", "please /approve soon", "approved?", "see SH-1"])
            world.plane.say(name, world.rng.choice(items)["id"], words)

    async def order(self) -> None:
        """Give each order that fits; one that a dying daemon did not carry out is given again."""
        if not self.orders:
            return
        for key, what, body in self._fitting():
            self.given[f"{what} {await self._given(key, what, body)}"] += 1

    def _fitting(self) -> list[tuple[str, str, dict[str, Any]]]:
        try:
            rows = self._world.tables("SELECT key, title, stage, phase, reason, cancelling FROM delivery_tasks")
        except sqlite3.OperationalError:  # there is no database yet
            return []
        fitting = [one for row in rows if (one := self._order(*row)) is not None]
        return [(key, *ORDERS[order]) for key, order in fitting if order in self.orders]

    def _order(
        self, key: str, title: str, stage: str, phase: str, reason: str, cancelling: str
    ) -> tuple[str, str] | None:
        number, waits = number_of(title), (stage, phase) == ("test", "gated")
        if is_taken_back(number):
            return (key, "cancel") if waits and not cancelling else None
        if is_commanded(number):
            return (key, "verdict") if waits else None
        if phase != "parked":
            return None
        if is_cheap(number):
            return key, "release" if "release" in self.orders else "retry"
        return (key, "tomorrow") if reason.startswith(TODAY) else None

    async def _given(self, key: str, what: str, body: dict[str, Any]) -> int:
        """Give an order; gives the status, 0: nobody answered."""
        world = self._world
        token = (world.folder / "data/admin-token").read_text().strip()
        url = f"http://127.0.0.1:{world.port}/api/v1/tasks/{key}/{what}"
        headers, limit = {"authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(ORDER_S)
        try:
            async with world.session.post(url, json=body, headers=headers, timeout=limit) as reply:
                return reply.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0


def number_of(title: str) -> int:
    """Give an issue's number by its title."""
    return int(title.rpartition(" ")[2])
