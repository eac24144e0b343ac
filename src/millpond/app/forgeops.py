"""What others tell of commits in the embedded git: a CI's statuses, as it would report them to a forge."""

from __future__ import annotations

from typing import Any

from millpond.adapters.localgit import LocalGit, Status
from millpond.app.application import App
from millpond.app.operating import Operation, Progress
from millpond.delivery.model import Phase
from millpond.delivery.ports import ForgeFailed
from millpond.errors import BadRequest, Conflict


class ForgeOperations:
    """The operations on the embedded git of one open application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        return {"status_report": self.status_report}

    async def status_report(
        self,
        progress: Progress,
        project: str,
        sha: str,
        state: str,
        context: str,
        description: str = "",
        url: str = "",
        by: str = "",
    ) -> dict[str, Any]:
        """Report a commit's status, and have the tasks that wait at gates look at it now.

        Raises `NotFound` (the project), `Conflict` (its forge is another server), `BadRequest`.
        """
        del progress, by
        delivering = self._app.delivering
        of, forge = delivering.project(project), delivering.forge
        if not isinstance(forge, LocalGit):
            raise Conflict("statuses are reported to the forge itself; only those of the embedded git are kept here")
        try:
            await forge.report(of, sha, Status(context, state, description, url))
        except ForgeFailed as error:
            raise (BadRequest if error.permanent else Conflict)(str(error)) from error
        for task in await delivering.ledger.open_tasks(project):
            if task.phase is Phase.GATED:
                await delivering.ledger.nudges.add(project, task.issue, urgent=True)
        return {"project": project, "sha": sha, "context": context, "state": state}
