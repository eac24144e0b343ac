"""People who order, beside those who answer on the board, and a tracker that fails once: all that `Driven` lacks.

Who orders looks at what the ledger says and gives the order again until it is so, as people do whose command met a
daemon that died. SH-1's task is made by whoever else looks at that issue in the same moment as the engine. SH-2 is
taken back, SH-3 is held and let go, hurried, and approved by command. Traces of tasks that have ended are pruned all
the while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.delivery.driven import QUICK, SHOP, Driven, Outside

from millpond.delivery.deciding.actions import CreateTask
from millpond.delivery.ledger.books import Books, Hook
from millpond.delivery.ledger.pruning import prune
from millpond.delivery.model import Options, Phase, Task

ISSUES = ("i1", "i2", "i3")
WHO, WHY = "ada", "over lunch"
KEEP_S = 1000.0


@dataclass
class Orders(Outside):
    """What is not the ledger's, with what befell it."""

    befallen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.by_command.add("i3")

    def once(self, what: str) -> bool:
        """Whether something has not happened yet; from now on it has."""
        new = what not in self.befallen
        self.befallen.add(what)
        return new


class Ordered(Driven):
    """See the module."""

    def __init__(self, db: Any, outside: Orders, *, hook: Hook) -> None:
        super().__init__(db, outside, hook=hook)
        self.orders, self.books = outside, Books(db, hook=hook)

    async def round(self) -> None:
        """Let somebody else be first to make the task of i1, as long as its issue asks for one."""
        issue = self.orders.tracker.issues[SHOP.name, "i1"]
        if issue.state == "to-analyse":
            wanted = CreateTask(QUICK.first(SHOP, Options()), Options(), issue.state)
            tasks = [await self.ledger.create_task(SHOP, issue, wanted) for _ in range(2)]
            assert tasks[0][0].id == tasks[1][0].id
            assert not tasks[1][1], "it was made twice"
        await super().round()

    async def people(self) -> None:
        """Give the orders that fit."""
        for task in await self.tasks():
            match task.issue:
                case "i2" if task.open and task.stage != "analysis" and not task.cancelling:
                    await self.ledger.cancel(task.id, WHO)
                case "i3" if task.open:
                    await self._steer(task)
        await prune(self.books, KEEP_S)
        await self._befall()

    async def _steer(self, task: Task) -> None:
        match task.phase:
            case Phase.PARKED:
                await self.ledger.release(task.id, WHO, task_usd=30.0)
            case Phase.READY if task.not_before > await self.ledger.now():
                await self.ledger.hurry(task.id, WHO)
            case Phase.GATED if "park-ordered" not in await self.ledger.events(task.id):
                await self.ledger.park(task.id, WHO, WHY)
            case Phase.GATED if not any(one.kind == "human-verdict" for one in await self.ledger.evidence(task)):
                await self.ledger.say(task.id, WHO, approved=True)

    async def _befall(self) -> None:
        """Let a write fail, and a person move an issue that is just about to be moved, once each."""
        pending = await self.ledger.outbox.pending()
        moved = [item.issue for item in pending if item.kind == "move"]
        if "i2" in moved and self.orders.once("moved"):
            self.outside.tracker.put(SHOP, "i2", state="backlog")
        elif pending and self.orders.once("failed"):
            self.outside.tracker.fail_next = 1
