"""What a webhook does: nothing but nudges. Whatever it names is read again; nothing else of it is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from millpond.app.application import App
from millpond.app.waking import POLL
from millpond.delivery.model import Hint, Project
from millpond.errors import Busy, Denied

SENDERS: Mapping[str, str] = {"plane": "tracker", "gitea": "forge"}
"""Who sends webhooks: the kind of tracker or forge that it has to be."""
INLINE_BYTES = 64 << 10
log = structlog.get_logger(__name__)


def expected(app: App, sender: str) -> bool:
    """Whether a webhook of this sender can be genuine at all: it is configured, with a secret."""
    table = app.config.tracker if SENDERS[sender] == "tracker" else app.config.forge
    return table.kind == sender and table.webhook_secret is not None


async def take(app: App, sender: str, headers: Mapping[str, str], body: bytes) -> int:
    """Verify a webhook and nudge what it names, durably; gives how many nudges. Raises `Denied`, `BadRequest`, `Busy`.

    Large bodies are read in a thread, since reading them may take long.
    """
    of = app.delivering
    if not expected(app, sender):
        raise Denied(f"no webhook of {sender} is expected: set its webhook_secret", authenticate=True)
    parse = of.tracker.parse if SENDERS[sender] == "tracker" else of.forge.parse
    hint = parse(headers, body) if len(body) <= INLINE_BYTES else await asyncio.to_thread(parse, headers, body)
    if not of.options.webhooks or not of.options.enabled:  # told only to who may know
        raise Busy("webhooks are switched off here")
    return await nudge(app, hint)


async def nudge(app: App, hint: Hint) -> int:
    """Nudge what a hint names: an issue, the tasks of a branch, or all open tasks of a project and a poll of it."""
    of, count = app.delivering, 0
    for project in _meant(app, hint):
        issues = [hint.issue] if hint.issue else await _tasks_of(app, project, hint)
        for issue in issues:
            await of.ledger.nudges.add(project.name, issue, urgent=True)
        count += len(issues)
        if not hint.issue and not hint.repo:
            of.wakes.wake(POLL)
    app.metrics.nudged("webhook", count)
    return count


def _meant(app: App, hint: Hint) -> list[Project]:
    projects = app.delivering.projects.values()
    if hint.project:
        return [one for one in projects if one.tracker_project == hint.project]
    return [one for one in projects if hint.repo and one.repo.casefold() == hint.repo.casefold()]


async def _tasks_of(app: App, project: Project, hint: Hint) -> list[str]:
    """Give the issues of the open tasks that a hint is about: of its branch, or all where that is the base's."""
    tasks = await app.delivering.ledger.open_tasks(project.name)
    named = hint.branch not in {"", project.branch}
    return [task.issue for task in tasks if not named or task.branch == hint.branch]
