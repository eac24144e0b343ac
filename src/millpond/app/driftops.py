"""``millpond reconcile`` and ``millpond drift``: what nobody told, and where board, engine and forge differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from millpond.app.application import App
from millpond.app.delivering import Delivering
from millpond.app.operating import Operation, Progress
from millpond.delivery.deciding.actions import Wait
from millpond.delivery.deciding.looking import Look, left_elsewhere
from millpond.delivery.deciding.prospects import told
from millpond.delivery.model import Issue, Phase, Project, Task
from millpond.delivery.ports import ForgeFailed, TrackerFailed
from millpond.delivery.ratebudget import used_for
from millpond.delivery.rates import Use
from millpond.errors import Busy

MOST = 500
"""Issues of a project that are looked at."""
AT_ONCE = 16
"""Of them at a time: the embedded forge answers many with one git (`adapters.gitrefs`)."""
Row = dict[str, Any]


class DriftOperations:
    """The operations that compare board, engine and forge."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._one = asyncio.Lock()
        self._last: tuple[float, Delivering, dict[str, Any]] | None = None

    def all(self) -> dict[str, Operation]:
        """Give them by name."""
        return {"reconcile": self.reconcile, "drift": self.drift}

    async def reconcile(self, progress: Progress, dry_run: bool = False) -> dict[str, Any]:
        """Poll the board now. `dry_run`: only tell what would be done."""
        of = self._app.delivering
        progress("asking the board", 0, None)
        if not dry_run:
            done = await of.poll()
            return {"dry_run": False, "ok": not done["failed"], **done, "would": []}
        found = await of.engine.poll(dry_run=True)
        would: list[Row] = []
        for one in found:
            project = of.projects[one.project]
            for index, issue in enumerate(one.issues[:MOST]):
                progress(f"looking at {one.project}", index, len(one.issues))
                with used_for(Use.LISTING):
                    would.append({"project": one.project, "issue": issue, **await self._seen(project, issue)})
        failed = {one.project: one.error for one in found if one.error}
        incomplete = [one.project for one in found if not one.complete and not one.error]
        total = sum(len(one.issues) for one in found)
        counted = {"found": total, "failed": failed, "incomplete": incomplete, "would": would}
        return {"dry_run": True, "ok": not failed, **counted}

    async def drift(
        self, progress: Progress, mend: bool = False, within_s: float | None = None, fresh_s: float = 0.0
    ) -> dict[str, Any]:
        """Tell where board, engine and forge differ. `mend`: have each of them looked at now.

        One comparison at a time, since each is many requests; of one that is not older than `fresh_s` the result is
        told again. What was not compared after `within_s` is told as failed. Raises `Busy`.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._one.acquire()
        except TimeoutError as error:
            raise Busy("board, engine and forge are being compared already: ask again in a minute") from error
        try:
            of, monotonic = self._app.delivering, self._app.clock.monotonic
            if self._last is not None and not mend:
                at, about, before = self._last
                if about is of and monotonic() - at < fresh_s:
                    return before
            rows, failed = await self._compared(of, progress, within_s)
            if mend:
                for project_name, issue in dict.fromkeys((row["project"], row["issue"]) for row in rows):
                    await of.ledger.nudges.add(project_name, issue, urgent=True)
            result = {"ok": not rows and not failed, "mended": mend, "failed": failed, "drift": rows}
            self._last = (monotonic(), of, result) if not mend else None
            return result
        finally:
            self._one.release()

    async def _compared(
        self, of: Delivering, progress: Progress, within_s: float | None
    ) -> tuple[list[Row], dict[str, str]]:
        """Compare every project; gives what differs, and what could not be compared."""
        rows, failed = list[Row](), dict[str, str]()
        until = None if within_s is None else asyncio.get_running_loop().time() + within_s
        for project in of.projects.values():
            progress(f"comparing {project.name}", 0, None)
            try:
                async with asyncio.timeout_at(until):
                    with used_for(Use.LISTING):
                        async for row in self._project(project, progress):
                            rows.append(row)
            except TimeoutError:
                failed[project.name] = (
                    f"not all of it was compared within {within_s:g} s; `millpond drift` takes longer"
                )
            except (TrackerFailed, ForgeFailed) as error:
                failed[project.name] = str(error)
        for item in await of.ledger.outbox.pending():
            if item.attempts:
                text = f"a {item.kind} could not be written to the board {item.attempts} times; it is tried on"
                rows.append({"project": item.project, "issue": item.issue, "key": "", "between": "board", "told": text})
        return rows, failed

    async def _project(self, project: Project, progress: Progress) -> AsyncIterator[Row]:
        of = self._app.delivering
        columns = await of.tracker.states(project)  # read now: what is remembered lacks new ones, or all of them
        board = await of.states.board(project)
        listing = await of.tracker.changed(project, frozenset(column.id for column in columns), 0.0)
        tasks = {task.issue: task for task in reversed(await of.showing.tasks(project=project.name, limit=MOST))}
        issues = {issue.id: issue for issue in listing.issues}
        there = issues.keys() | listing.unread
        missed = [task for task in tasks.values() if task.open and listing.complete and task.issue not in there]
        # Not to be listed is not to be gone: it may stand in a column made since, or have moved past our pages.
        issues |= {one.id: one for one in await of.tracker.get(project, [task.issue for task in missed])}
        wanted = [issue for issue in issues.values() if board.starts(issue.state) or issue.id in tasks]
        for task in missed:
            if task.issue not in issues:
                yield _row(project, task, None, "board", "the board has no such issue any more")
        for index in range(0, min(len(wanted), MOST), AT_ONCE):
            progress(f"comparing {project.name}", index, len(wanted))
            some = wanted[index : min(index + AT_ONCE, MOST)]
            asked = (self._issue(project, issue, tasks.get(issue.id)) for issue in some)
            for found in await asyncio.gather(*asked, return_exceptions=True):  # so that none goes on by itself
                if isinstance(found, BaseException):
                    raise found
                for row in found:
                    yield row

    async def _issue(self, project: Project, issue: Issue, task: Task | None) -> list[Row]:
        of, rows = self._app.delivering, list[Row]()
        rests = task is not None and not task.open and issue.state == task.shown
        actions, look = (
            ((Wait("as it was left"),), None) if rests else await of.engine.view(project, issue.id, urgent=True)
        )
        if left_elsewhere(actions, look) and not await self._moving(project, issue):
            actions, look = await of.engine.view(project, issue.id, urgent=True)  # a move of ours may just have left
            if look is not None and left_elsewhere(actions, look):
                rows.append(await self._left(project, look))
        if not isinstance(actions[0], Wait):
            kind = "forge" if type(actions[0]).__name__ == "Push" else "board"
            rows.append(_row(project, task, issue, kind, told(actions)))
        if task is not None and await self._lost(project, task):
            text = f"it is done, but its commit {task.sha[:12]} is not on {project.branch}"
            rows.append(_row(project, task, issue, "forge", text))
        return rows

    async def _moving(self, project: Project, issue: Issue) -> bool:
        """Whether a move of ours has not left for the board."""
        pending = await self._app.delivering.ledger.outbox.pending()
        return any((one.kind, one.project, one.issue) == ("move", project.name, issue.id) for one in pending)

    async def _left(self, project: Project, look: Look) -> Row:
        """Name an issue that a person moved elsewhere, where it is left."""
        names = {one.id: one.name for one in await self._app.delivering.tracker.states(project)}
        here, there = (names.get(one, one) for one in (look.issue.state, look.task.shown))
        text = f"it stands at {here}, and would be at {there}: a person moved it, so it is left there"
        return _row(project, look.task, look.issue, "board", text)

    async def _lost(self, project: Project, task: Task) -> bool:
        """Whether a task is done whose commit is not on the branch that it was merged into."""
        of = self._app.delivering
        if task.phase is not Phase.DONE or not task.sha:
            return False
        stages = (await of.pipelines.of(project)).stages
        merges = any(stage.step == "merge" and stage.name not in task.options.skip for stage in stages)
        return merges and not await of.forge.contains(project, project.branch, task.sha)

    async def _seen(self, project: Project, issue: str) -> Row:
        try:
            actions = await self._app.delivering.engine.why(project, issue)
        except (TrackerFailed, ForgeFailed) as error:
            return {"acts": False, "told": f"it can't be looked at: {error}"}
        return {"acts": not isinstance(actions[0], Wait), "told": told(actions)}


def _row(project: Project, task: Task | None, issue: Issue | None, between: str, text: str) -> Row:
    key = task.key if task is not None else f"{project.prefix}-{issue.number}" if issue is not None else ""
    where = issue.id if issue is not None else task.issue if task is not None else ""
    return {"project": project.name, "issue": where, "key": key, "between": between, "told": text}
