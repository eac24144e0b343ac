"""Deploys of one open application, wired: its hosts, its releases, what comes before a deploy."""

from __future__ import annotations

from millpond.adapters.asking import HttpAsker
from millpond.app.hosted import Hosted
from millpond.app.hosting import Hosting
from millpond.app.prepulling import Prepulling
from millpond.hosts.apps import AppOptions
from millpond.hosts.deploying import Deploying
from millpond.hosts.holding import Holding
from millpond.hosts.model import HostFailed
from millpond.hosts.orchestrators import commit_of
from millpond.hosts.rollout import Place

MAX_COMMIT = 64
GIT_S = 10.0


def deploying(app: Hosted, hosting: Hosting) -> Deploying:
    """Give what deploys and rolls back, on the hosts as they are configured now."""

    def place(name: str) -> Place:
        watched = hosting.watched(name)
        return Place(watched.host, watched.options)

    return Deploying(
        releases=hosting.releases,
        holding=Holding(app.leases, app.clock, app.node),
        place=place,
        prepares=Preparing(app, hosting),
        asker=HttpAsker(),
        measured=app.metrics.deployed,
    )


class Preparing(Prepulling):
    """What comes before a deploy (`hosts.deploying.Prepares`)."""

    async def commit(self, app: AppOptions) -> str:
        """Tell the commit that the app's folder is at; empty where git does not tell."""
        try:
            done = await self.machine(app).run(commit_of(app.path), timeout_s=GIT_S)
        except HostFailed:
            return ""
        text = done.out.strip()
        return text if done.ok and len(text) <= MAX_COMMIT and text.isalnum() else ""
