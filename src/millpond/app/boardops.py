"""``millpond board ...``: the embedded board, for people. What is written here is looked at at once."""

from __future__ import annotations

from typing import Any

from millpond.adapters.localboard import LocalBoard
from millpond.app.application import App
from millpond.app.issues import unseen_push
from millpond.app.operating import Operation, Progress
from millpond.app.telling import card_row, card_told
from millpond.delivery.board.store import BoardStore, Draft, Filter
from millpond.delivery.board.verdicts import said_in
from millpond.delivery.deciding.gates import awaits_person
from millpond.delivery.deciding.hearing import answer
from millpond.delivery.model import Phase, Project
from millpond.delivery.naming import parse_key
from millpond.errors import BadRequest, Conflict, NotFound


class BoardOperations:
    """The operations on the embedded board of one open application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        names = ("board_ls", "board_columns", "board_new", "board_show", "board_move", "board_comment", "board_label")
        return {name: getattr(self, name) for name in names}

    async def board_ls(
        self,
        progress: Progress,
        project: str | None = None,
        columns: list[str] | None = None,
        limit: int = 100,
        below: int | None = None,
    ) -> list[dict[str, Any]]:
        """List issues, the newest first, of a project or of all. Raises `NotFound`, `Conflict` (no embedded board)."""
        del progress
        store = self._store()
        delivering = self._app.delivering
        projects = list(delivering.projects.values()) if project is None else [self._named(project)]
        wanted = Filter(tuple(columns or ()), below, limit)
        return [
            {"key": f"{one.prefix}-{card.issue.number}", **card_row(card)}
            for one in projects
            for card in await store.cards(one, wanted)
        ]

    async def board_columns(self, progress: Progress, project: str) -> list[dict[str, Any]]:
        """List a board's columns in their order. Raises `NotFound`, `Conflict`."""
        del progress
        return [
            {"id": one.id, "name": one.name, "group": one.group}
            for one in await self._store().columns(self._named(project))
        ]

    async def board_new(
        self,
        progress: Progress,
        title: str,
        project: str | None = None,
        description: str = "",
        labels: list[str] | None = None,
        column: str = "",
        by: str = "",
    ) -> dict[str, Any]:
        """Make an issue. Raises `NotFound`, `BadRequest`, `Conflict`."""
        del progress
        draft = Draft(title, description, frozenset(labels or ()), column)
        return self._told(await self._store().new(self._only(project), draft, by))

    async def board_show(self, progress: Progress, key: str) -> dict[str, Any]:
        """Show an issue with its comments. Raises `NotFound`, `Conflict`."""
        del progress
        project, number = self._issue(key)
        return self._told(await self._store().show(project, number))

    async def board_move(self, progress: Progress, key: str, column: str, by: str = "") -> dict[str, Any]:
        """Move an issue, to a column by its id or name. Raises `NotFound`, `Conflict`."""
        del progress
        project, number = self._issue(key)
        return self._told(await self._store().move(project, number, column, by))

    async def board_label(
        self,
        progress: Progress,
        key: str,
        add: list[str] | None = None,
        remove: list[str] | None = None,
        by: str = "",
    ) -> dict[str, Any]:
        """Add labels to an issue, and take some away. Raises `NotFound`, `BadRequest`, `Conflict`."""
        del progress, by
        if not add and not remove:
            raise BadRequest("which label? write --add LABEL, or --remove LABEL")
        project, number = self._issue(key)
        return self._told(await self._store().label(project, number, add or [], remove or []))

    async def board_comment(self, progress: Progress, key: str, text: str, by: str = "") -> dict[str, Any]:
        """Comment on an issue; `verdict`: what one in it does. Raises `NotFound`, `BadRequest`, `Conflict`."""
        del progress
        project, number = self._issue(key)
        told = await self._verdict(project, str(number), text)
        return {**self._told(await self._store().say(project, number, text, by)), "verdict": told}

    async def _verdict(self, project: Project, issue: str, text: str) -> str:
        """Say what a comment's verdict does, by the ledger as it is before the comment is looked at."""
        of = self._app.delivering
        task = await of.ledger.last_task(project.name, issue)
        if task is None or task.phase is not Phase.GATED:
            return answer(text, task, awaited=False)
        gates = await of.showing.gates(task)
        awaited = awaits_person(((one["gate"], one["word"]) for one in gates), unseen=True)
        newer = await unseen_push(self._app, task) if awaited and said_in(text) is not None else None
        return answer(text, task, awaited=awaited, newer=newer)

    def _told(self, card: Any) -> dict[str, Any]:
        project = self._app.delivering.projects[card.issue.project]
        return {"key": f"{project.prefix}-{card.issue.number}", **card_told(card)}

    def _store(self) -> BoardStore:
        tracker = self._app.delivering.bare_tracker
        if not isinstance(tracker, LocalBoard):
            kind = self._app.config.tracker.kind
            raise Conflict(f'the board is in {kind}: do it there, or write [tracker] kind = "local"')
        return tracker.store

    def _named(self, project: str) -> Project:
        """Find a project by its name or its prefix. Raises `NotFound`."""
        found = self._app.delivering.projects.values()
        same = [one for one in found if one.name == project or one.prefix.casefold() == project.casefold()]
        return same[0] if same else self._app.delivering.project(project)

    def _only(self, project: str | None) -> Project:
        projects = list(self._app.delivering.projects.values())
        if project is not None:
            return self._named(project)
        if len(projects) != 1:
            known = ", ".join(one.name for one in projects) or "none is configured; write [projects.NAME]"
            raise BadRequest(f"which project? There are: {known}")
        return projects[0]

    def _issue(self, key: str) -> tuple[Project, int]:
        """Read ``SH-12``; with one project ``12`` does. Raises `NotFound`, `BadRequest`."""
        if key.isascii() and key.isdigit():
            return self._only(None), int(key[:12])
        parsed = parse_key(key)
        if parsed is None:
            raise BadRequest(f"{key[:80]!r} is no issue; write its key, such as SH-12")
        try:
            return self._named(parsed[0]), parsed[1]
        except NotFound as error:
            raise NotFound(f"no project has the prefix {parsed[0]}: `millpond board ls` lists the issues") from error
