"""Which tasks one waits for before its first job, and whether they will ever be done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from millpond.delivery.deciding.looking import Dependency, unbegun
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Phase, Project, Task
from millpond.delivery.naming import parse_key

MAX_CHAIN = 200
Missing: TypeAlias = Callable[[str], Awaitable[bool]]
"""Says whether it is certain that there is no issue of a key; a tracker elsewhere is not asked that."""


class Dependencies:
    """The dependencies in one ledger."""

    def __init__(self, ledger: Ledger, projects: Mapping[str, Project], missing: Missing) -> None:
        self._ledger, self._projects, self._missing = ledger, projects, missing

    async def of(self, task: Task) -> tuple[Dependency, ...]:
        """Look up the tasks that one waits for; none once its first job began."""
        if not unbegun(task):
            return ()
        return tuple([await self._dependency(self._written(key), task.key) for key in task.options.after])

    async def wake(self, ended: Task) -> None:
        """Have the tasks that wait for one that has ended looked at now.

        Only sooner: what is lost here, between two transactions, the next poll finds, which looks at every open task.
        """
        for project in self._projects.values():
            for task in await self._ledger.open_tasks(project.name):
                if unbegun(task) and ended.key in map(self._written, task.options.after):
                    await self._ledger.nudges.add(task.project, task.issue)

    def _written(self, key: str) -> str:
        """Write a task's key, in which case does not count, as its project does."""
        prefix, hyphen, number = key.rpartition("-")
        known = {project.prefix.casefold(): project.prefix for project in self._projects.values()}
        return f"{known.get(prefix.casefold(), prefix)}{hyphen}{number}"

    async def _dependency(self, key: str, own: str) -> Dependency:
        if parse_key(key) is None:
            return Dependency(key, hopeless=True, why="is no issue's key; one is written as SH-3")
        found = await self._ledger.by_key(key)
        if found is None and await self._missing(key):
            return Dependency(key, hopeless=True, why="does not exist")
        if found is None:
            return Dependency(key, why="not begun")
        if found.phase is Phase.DONE:
            return Dependency(key, done=True)
        if found.phase is Phase.CANCELLED:
            return Dependency(key, hopeless=True, why="was cancelled")
        if await self._leads_to(found, own):
            return Dependency(key, hopeless=True, why="waits for it in turn")
        return Dependency(key, why=str(found.phase))

    async def _leads_to(self, task: Task, own: str) -> bool:
        """Whether a chain of dependencies comes back."""
        seen, ahead = set[str](), [task.key, *task.options.after]
        while ahead and len(seen) < MAX_CHAIN:
            key = self._written(ahead.pop())
            if key == own:
                return True
            if key not in seen:
                seen.add(key)
                found = await self._ledger.by_key(key)
                ahead += found.options.after if found is not None and found.open else ()
        return False
