"""The world of the chaos: a Plane and a Gitea that fail, a person who answers, webhooks lost, doubled, forged."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.faults.delivered import SECRET

from millpond.testing.giteaserver import TOKEN, GiteaServer
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer
from millpond.testing.pond import free_port
from millpond.testing.wire import Fails

NAMES = ("Backlog", "To Analyse", "In Progress", "Code Review", "Awaiting Deploy", "Deploying")
MORE = ("Monitoring after Deploy", "Approved", "Rejected", "Needs Input", "Blocked")
COLUMNS = [*((name, "started") for name in (*NAMES, *MORE)), ("Done", "completed"), ("Cancelled", "cancelled")]
PROJECTS = ("shop", "till", "bank")
CHEAP_USD, TASK_USD, DAY_USD = 0.2, 5.0, 1000.0
CHEAP = 3
"""Each seventh issue, from this one on, has a budget that does not suffice."""
AGES_S = 400.0
Post = tuple[str, dict[str, str], bytes, int]
"""Who sends, headers, body, and how it is to be answered."""
CONFIG = """
[repositories.files]
package = "generic"
type = "local"
[tracker]
kind = "plane"
url = "{plane}"
workspace = "{workspace}"
token = "{key}"
webhook_secret = "{secret}"
[forge]
kind = "gitea"
url = "{gitea}"
token = "{token}"
webhook_secret = "{secret}"
[delivery]
poll_interval_s = 0.5
reconcile_grace_s = 0.2
sweep_interval_s = 2
max_concurrency = 6
lease_s = 2
circuit_open_s = 0.1
circuit_max_open_s = 0.2
{projects}
[pipeline]
budget = {{ run_usd = 1, task_usd = {task}, day_usd = {day} }}
[pipeline.labels.cheap]
task_usd = {cheap}
{stages}
"""
COSTS = 'run_usd = 1\nsettings = { argv = ["x"] }'
STAGES = (
    ("build", "command", f'gates = ["branch-pushed"]\n{COSTS}'),
    ("test", "command", f'gates = ["tests-passed", "no-conflict", "human-verdict"]\n{COSTS}'),
    ("merge", "merge", 'shows = "in_progress"'),
    ("deploy", "deploy", 'gates = ["deploy-converged"]\nqueued = "awaiting_deploy"\nshows = "deploying"'),
    ("monitoring", "monitor", 'gates = ["health"]\nshows = "monitoring"'),
)
QUICK = "attempts = 1000\nbackoff = { first_s = 0.05, factor = 1, most_s = 0.05 }"


class Forge(GiteaServer):
    """A Gitea that also stands for what runs push, and where it is deployed."""

    deploys: Counter[str]

    def routes(self) -> list[web.RouteDef]:
        self.deploys = Counter()
        return [*super().routes(), web.post("/test/push", self._pushed), web.post("/test/deploy", self._deployed)]

    def allowed(self, request: web.Request) -> web.Response | None:
        return None if request.path.startswith("/test/") else super().allowed(request)

    async def _pushed(self, request: web.Request) -> web.Response:
        body = await request.json()
        repo, branch = body["repo"], body["branch"]
        there = self.repos[repo].branches.get(branch)
        name = branch.replace("/", "-")
        return web.json_response({"sha": there or self.push(repo, branch, **{f"{name}.txt": branch})})

    async def _deployed(self, request: web.Request) -> web.Response:
        """Bring a commit out, unless it is out: what `AppDeployer` finds in the releases."""
        sha = (await request.json())["sha"]
        if not self.deploys[sha]:
            self.deploys[sha] += 1
        return web.json_response({})


@dataclass
class World:
    """All of it."""

    folder: Path
    plane: PlaneServer
    gitea: Forge
    issues: int
    rng: random.Random
    port: int = field(default_factory=free_port)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    process: subprocess.Popen[bytes] | None = None
    taken: int = 0
    """Deliveries that were looked at."""
    made: int = 0
    """Issues that were made."""
    labels: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Make projects and repositories."""
        self.folder.mkdir()
        for name in PROJECTS:
            self.states[name] = self.plane.project(name, COLUMNS)
            self.gitea.repo(f"team/{name}")
        projects = "".join(
            f'[projects.{n}]\nprefix = "{n[:2].upper()}"\ntracker_project = "{n}"\nrepo = "team/{n}"\n'
            for n in PROJECTS
        )
        stages = "".join(
            f'[[pipeline.stages]]\nname = "{name}"\nstep = "{step}"\n{more}\n{QUICK}\n' for name, step, more in STAGES
        )
        text = CONFIG.format(
            plane=self.plane.url, gitea=self.gitea.url, secret=SECRET, projects=projects, stages=stages,
            task=TASK_USD, day=DAY_USD, cheap=CHEAP_USD, token=TOKEN, key=KEY, workspace=WORKSPACE,
        )  # fmt: skip
        (self.folder / "millpond.toml").write_text(text)
        self.labels = {name: self.plane.label(name, "cheap") for name in PROJECTS}

    def more(self, count: int = 1) -> None:
        """Make issues, as long as some are left to make."""
        for _ in range(min(count, self.issues - self.made)):
            name, number = PROJECTS[self.made % len(PROJECTS)], self.made
            labels = [self.labels[name]] if number % 7 == CHEAP else []
            self.plane.add(name, f"Issue {number}", self.states[name]["To Analyse"], labels=labels)
            self.made += 1

    # the daemon

    def start(self, kill: str) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        argv = [sys.executable, "-m", "tests.faults.delivered", str(self.folder), str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, self.plane.url, self.gitea.url, kill], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> int:
        """Make sure that it has ended; gives how."""
        assert self.process is not None
        if self.running:
            self.process.send_signal(signal.SIGKILL)
        return self.process.wait(60)

    def age(self) -> None:
        """Let time pass for what waits: leases of the dead, and back-offs. Only while no daemon runs."""
        file = self.folder / "data/catalog.sqlite"
        if not file.exists():
            return
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as db, contextlib.suppress(sqlite3.OperationalError):
            for table, columns in (
                ("delivery_nudges", ("not_before", "lease_until")),
                ("delivery_outbox", ("not_before", "lease_until")),
                ("delivery_tasks", ("not_before",)),
            ):
                change = ", ".join(f"{column} = {column} - {AGES_S}" for column in columns)
                db.execute(f"UPDATE {table} SET {change}")
            db.commit()

    def tables(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "data/catalog.sqlite", timeout=30)) as db:
            return db.execute(query).fetchall()

    # people

    def answer(self) -> None:
        """Approve what asks for a verdict, once for each time that it asks."""
        for name in PROJECTS:
            rows = self.plane.projects[name]
            asked = Counter(one["issue"] for one in rows["comments"] if "waits for a verdict" in one["comment_html"])
            for item in rows["items"]:
                key = item["id"]
                if item["state"] == self.states[name]["Needs Input"] and self.answered[key] < asked[key]:
                    self.answered[key] += 1
                    self.plane.place(name, key, self.states[name]["Approved"])

    def chatter(self) -> None:
        """Say something that means nothing, about some issue."""
        name = self.rng.choice(PROJECTS)
        items = self.plane.projects[name]["items"]
        if items:
            self.plane.say(
                name,
                self.rng.choice(items)["id"],
                self.rng.choice(["hm", "please /approve soon", "approved?", "see SH-1"]),
            )

    # webhooks

    async def hooks(self, deliveries: int) -> None:
        """Send what the fakes told: a third of it never, the rest one to five times, shuffled, with forged ones."""
        bag: list[Post] = []
        async with aiohttp.ClientSession() as session:
            while True:
                for sender, server in (("plane", self.plane), ("gitea", self.gitea)):
                    while server.sent:
                        one = server.sent.pop(0)
                        self.taken += 1
                        if self.rng.random() < 1 / 3:
                            self.sent["dropped"] += 1
                            continue
                        bag += [(sender, dict(one.headers), one.body, 202)] * self.rng.randint(1, 5)
                        bag += self._forged(sender, dict(one.headers), one.body)
                if self.taken < deliveries:
                    self.chatter()
                self.rng.shuffle(bag)
                for _ in range(min(len(bag), 8)):
                    await self._send(session, *bag.pop())
                await asyncio.sleep(0.001 if bag or self.taken < deliveries else 0.02)

    def _forged(
        self, sender: str, headers: dict[str, str], body: bytes
    ) -> list[tuple[str, dict[str, str], bytes, int]]:
        if self.rng.random() > 0.15:
            return []
        bad = {name: ("0" * 64 if "Signature" in name else value) for name, value in headers.items()}
        bare = {name: value for name, value in headers.items() if "Signature" not in name}
        large = body + b" " * ((1 << 20) + 1)
        return [(sender, bad, body, 401), (sender, bare, body, 401), (sender, headers, large, 413)]

    async def _send(
        self, session: aiohttp.ClientSession, sender: str, headers: dict[str, str], body: bytes, wanted: int
    ) -> None:
        self.sent["sent"] += 1
        try:
            url = f"http://127.0.0.1:{self.port}/webhook/{sender}"
            async with session.post(
                url, data=io.BytesIO(body), headers=headers, timeout=aiohttp.ClientTimeout(30)
            ) as reply:
                self.statuses[f"{wanted} {reply.status}"] += 1
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.sent["nobody"] += 1  # the daemon is dead: what it would have told is lost

    # outages

    async def outages(self) -> None:
        """Let tracker and forge fail now and then."""
        while True:
            server = self.rng.choice((self.plane, self.gitea))
            how = self.rng.choice([Fails.TOO_MANY, Fails.ERROR, Fails.DROP, Fails.PAGE, Fails.HANG])
            lost = how is not Fails.TOO_MANY and self.rng.random() < 0.5
            server.fail(how, self.rng.randint(1, 2), words=self._words(server), lost=lost, after="0")
            server.faults[:] = [one for one in server.faults if one.times > 0]
            await asyncio.sleep(self.rng.uniform(0.5, 2.5))

    def _words(self, server: PlaneServer | Forge) -> str:
        """Say which requests fail; seldom those for columns, without which a daemon just begun has nothing to do."""
        if server is self.gitea:
            return "/repos/"
        return "/states/" if self.rng.random() < 0.1 else "/work-items/"

    # the end

    def columns(self) -> list[tuple[str, str]]:
        names = {ident: name for states in self.states.values() for name, ident in states.items()}
        return sorted(
            (f"{project} {one['name']}", names[one["state"]])
            for project, rows in self.plane.projects.items()
            for one in rows["items"]
        )

    def settled(self) -> bool:
        """Whether nothing is left to do."""
        try:
            left = self.tables("SELECT count(*) FROM delivery_tasks WHERE phase IN ('ready', 'working', 'gated')")
            unsent = self.tables("SELECT count(*) FROM delivery_outbox WHERE state = 'pending'")
            looks = self.tables("SELECT count(*) FROM delivery_nudges")
            tasks = self.tables("SELECT count(*) FROM delivery_tasks")
        except sqlite3.OperationalError:
            return False
        return (left[0][0], unsent[0][0], looks[0][0], tasks[0][0]) == (0, 0, 0, self.issues)

    def summary(self) -> dict[str, Any]:
        merged = Counter(row["head"] for repo in self.gitea.repos.values() for row in repo.pulls if row["merged"])
        tasks = self.tables("SELECT project, key, phase, parked_as FROM delivery_tasks ORDER BY key")
        deploys = sorted(self.gitea.deploys.values())
        return {"columns": self.columns(), "merged": dict(merged), "tasks": tasks, "deploys": deploys}


async def settle(world: World, limit_s: float) -> None:
    """Wait for the end. Raises `TimeoutError` with what is left."""
    until = asyncio.get_running_loop().time() + limit_s
    while not world.settled():
        world.answer()
        if asyncio.get_running_loop().time() > until:
            left = world.tables("SELECT key, stage, phase, reason FROM delivery_tasks WHERE phase NOT IN ('done')")
            raise TimeoutError(f"{left}\n{(world.folder / 'log').read_text(errors='replace')[-3000:]}")
        await asyncio.sleep(0.1)


def environment_of(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def told(world: World) -> str:
    """Write what was done, for the report."""
    return json.dumps({"taken": world.taken, "sent": world.sent, "statuses": world.statuses})
