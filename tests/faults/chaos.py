"""The world of the chaos: a Plane and a Gitea that fail, webhooks lost, doubled and forged, a daemon that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.delivery.steps.given import make_forge
from tests.faults.delivered import BARE, HOSTS, SECRET
from tests.faults.people import LAST, PROJECTS, TODAY, People, is_cheap

from millpond.testing.giteaserver import TOKEN, GiteaServer
from millpond.testing.nursery import Copy, Nursery
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer
from millpond.testing.pond import free_port
from millpond.testing.wire import Fails

NAMES = ("Backlog", "To Analyse", "In Progress", "Code Review", "Awaiting Deploy", "Deploying")
MORE = ("Monitoring after Deploy", "Approved", "Rejected", "Needs Input", "Blocked")
COLUMNS = [*((name, "started") for name in (*NAMES, *MORE)), ("Done", "completed"), ("Cancelled", "cancelled")]
CHEAP_USD, TASK_USD, DAY_USD, LITTLE_USD = 0.2, 5.0, 1000.0, 3.0
"""The last one: of the last project's day, in which that does not suffice for all of its issues."""
AGES_S = 400.0
DEAF = 0.01
"""How often webhooks are sent to who does not listen yet."""
AT_ONCE = 16
"""Webhooks that are sent at the same time."""
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
[upkeep.build_cache]
enabled = false
[upkeep.disk]
enabled = false
[delivery]
poll_interval_s = 0.5
reconcile_grace_s = 0.2
sweep_interval_s = 2
max_concurrency = 6
lease_s = 2
circuit_open_s = 0.1
circuit_max_open_s = 0.2
{projects}
"""
PROJECT = """
[projects.{name}]
prefix = "{prefix}"
tracker_project = "{name}"
repo = "team/{name}"
app = "{name}"
[hosts.{name}-1]
ssh = "deploy@{name}.example"
[apps.{name}]
path = "/srv/{name}"
hosts = ["{name}-1"]
pull = "direct"
keep = 100
[projects.{name}.pipeline]
budget = {{ run_usd = 1, task_usd = {task}, day_usd = {day} }}
[projects.{name}.pipeline.labels.cheap]
task_usd = {cheap}
"""
STAGE = """
[[projects.{name}.pipeline.stages]]
name = "{stage}"
step = "{step}"
{more}
"""
COSTS = 'run_usd = 1\nsettings = { argv = ["x"] }'
STANDIN = [sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "delivery/steps/standin.py"), "frugal"]
SETS = 'settings = { sets = { VERSION = "{key}" } }'
ASKED = f'settings = {{ prompt = "development", preset = "claude", argv = {json.dumps(STANDIN)} }}'
AGENT = ("build", "agent", f'gates = ["branch-pushed"]\nrun_usd = 1\n{ASKED}')
"""What builds in the last project, in the place of the first stage."""
STAGES = (
    ("build", "command", f'gates = ["branch-pushed"]\n{COSTS}'),
    ("test", "command", f'gates = ["tests-passed", "no-conflict", "human-verdict"]\n{COSTS}'),
    ("merge", "merge", 'shows = "in_progress"'),
    ("deploy", "deploy", f'gates = ["deploy-converged"]\nqueued = "awaiting_deploy"\nshows = "deploying"\n{SETS}'),
    ("monitoring", "monitor", 'gates = ["health"]\nshows = "monitoring"\nsettings = { for_s = 0 }'),
)
QUICK = "attempts = 1000\nbackoff = { first_s = 0.05, factor = 1, most_s = 0.05 }"


class Forge(GiteaServer):
    """A Gitea that also stands for what small steps push; of a real repository it has what git pushed there."""

    bare: Path | None = None
    """Where the real repository of the last project is."""

    def routes(self) -> list[web.RouteDef]:
        return [*super().routes(), web.post("/test/push", self._pushed)]

    def allowed(self, request: web.Request) -> web.Response | None:
        self._see()
        return None if request.path.startswith("/test/") else super().allowed(request)

    def _see(self) -> None:
        """Take in what agents' branches are at, and tell of it as of any push."""
        repo = self.repos[f"team/{LAST}"]
        heads = self.bare / "refs/heads" if self.bare else Path()
        for file in (heads / "feature").glob("*") if self.bare else ():
            branch, sha = str(file.relative_to(heads)), "" if file.suffix == ".lock" else file.read_text().strip()
            if sha and repo.branches.get(branch) != sha:
                parent = repo.branches.get(branch, repo.branches["main"])
                repo.parents[sha], repo.files[sha] = (parent,), {**repo.files[parent], f"{file.name}.txt": sha}
                repo.branches[branch] = sha
                self.tell("push", repo.name, {"ref": f"refs/heads/{branch}", "after": sha, "commits": []})

    async def _pushed(self, request: web.Request) -> web.Response:
        body = await request.json()
        repo, branch = body["repo"], body["branch"]
        there = self.repos[repo].branches.get(branch)
        name = branch.replace("/", "-")
        return web.json_response({"sha": there or self.push(repo, branch, **{f"{name}.txt": branch})})


@dataclass
class World:
    """All of it."""

    folder: Path
    plane: PlaneServer
    gitea: Forge
    session: aiohttp.ClientSession
    nursery: Nursery
    issues: int
    rng: random.Random
    last_day_usd: float = DAY_USD
    port: int = field(default_factory=free_port)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    process: Copy | None = None
    bag: list[Post] = field(default_factory=list)
    """Webhooks that are still to be sent."""
    taken: int = 0
    """Deliveries that were looked at."""
    made: int = 0
    """Issues that were made."""
    labels: dict[str, str] = field(default_factory=dict)
    people: People = field(init=False)

    def __post_init__(self) -> None:
        self.people = People(self)

    def begin(self) -> None:
        """Make projects and repositories."""
        self.folder.mkdir()
        for name in PROJECTS:
            self.states[name] = self.plane.project(name, COLUMNS)
            self.gitea.repo(f"team/{name}")
        self.gitea.bare = make_forge(self.folder, f"{BARE}/team/{LAST}.git")
        text = CONFIG.format(
            plane=self.plane.url, gitea=self.gitea.url, secret=SECRET, token=TOKEN, key=KEY, workspace=WORKSPACE,
            projects="".join(self._project(name) for name in PROJECTS),
        )  # fmt: skip
        (self.folder / "millpond.toml").write_text(text)
        self.labels = {name: self.plane.label(name, "cheap") for name in PROJECTS}

    def _project(self, name: str) -> str:
        day = self.last_day_usd if name == LAST else DAY_USD
        usd = {"task": TASK_USD, "day": day, "cheap": CHEAP_USD}
        stages = [
            STAGE.format(name=name, stage=stage, step=step, more=f"{more}\n{QUICK}")
            for stage, step, more in ((AGENT, *STAGES[1:]) if name == LAST else STAGES)
        ]
        return PROJECT.format(name=name, prefix=name[:2].upper(), **usd) + "".join(stages)

    def more(self, count: int = 1) -> None:
        """Make issues, as long as some are left to make."""
        for _ in range(min(count, self.issues - self.made)):
            name, number = PROJECTS[self.made % len(PROJECTS)], self.made
            labels = [self.labels[name]] if is_cheap(number) else []
            self.plane.add(name, f"Issue {number}", self.states[name]["To Analyse"], labels=labels)
            self.made += 1

    # the daemon

    def start(self, kill: str) -> None:
        """Start a daemon, that kills itself where `kill` says ("-": nowhere)."""
        (self.folder / "ready").unlink(missing_ok=True)
        argv = [str(self.folder), str(self.port), self.plane.url, self.gitea.url, kill]
        here = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        log = self.folder / "log"
        self.process = self.nursery.spawn(argv, log=log, environ=here | {"HOME": str(self.folder)}, folder=Path.cwd())

    @property
    def hears(self) -> bool:
        """Whether a daemon has begun to listen, for all that is known; now and then nobody is told so."""
        return (self.folder / "ready").exists() or self.rng.random() < DEAF

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
        for table, columns in (
            ("delivery_nudges", ("not_before", "lease_until")),
            ("delivery_outbox", ("not_before", "lease_until")),
            ("delivery_tasks", ("not_before",)),
        ):
            self._change(f"UPDATE {table} SET " + ", ".join(f"{column} = {column} - {AGES_S}" for column in columns))

    def midnight(self) -> None:
        """Let the day pass. Only while no daemon runs."""
        self._change("UPDATE delivery_costs SET day = day - 1")

    def orphan(self) -> int:
        """Have what runs be another node's, that has died. Only while no daemon runs; gives how many jobs."""
        return self._change("UPDATE delivery_jobs SET worker = 'gone', lease_until = 0 WHERE state = 'running'")

    def _change(self, statement: str) -> int:
        """Change the database, if there is one; gives how many rows."""
        file = self.folder / "data/catalog.sqlite"
        if not file.exists():
            return 0
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as db, contextlib.suppress(sqlite3.OperationalError):
            count = db.execute(statement).rowcount
            db.commit()
            return count
        return 0

    def tables(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "data/catalog.sqlite", timeout=30)) as db:
            return db.execute(query).fetchall()

    # webhooks

    async def hooks(self, deliveries: int) -> None:
        """Send what the fakes told: a third of it never, the rest one to five times, shuffled, with forged ones."""
        bag = self.bag
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
                self.people.chatter()
            self.rng.shuffle(bag)
            heard = self.hears
            now = [bag.pop() for _ in range(min(len(bag), AT_ONCE) if heard else 0)]
            await asyncio.gather(*(self._send(*one) for one in now))
            await asyncio.sleep(0.001 if heard and (bag or self.taken < deliveries) else 0.01)

    def _forged(
        self, sender: str, headers: dict[str, str], body: bytes
    ) -> list[tuple[str, dict[str, str], bytes, int]]:
        if self.rng.random() > 0.15:
            return []
        bad = {name: ("0" * 64 if "Signature" in name else value) for name, value in headers.items()}
        bare = {name: value for name, value in headers.items() if "Signature" not in name}
        large = body + b" " * ((1 << 20) + 1)
        return [(sender, bad, body, 401), (sender, bare, body, 401), (sender, headers, large, 413)]

    async def _send(self, sender: str, headers: dict[str, str], body: bytes, wanted: int) -> None:
        self.sent["sent"] += 1
        try:
            url = f"http://127.0.0.1:{self.port}/webhook/{sender}"
            async with self.session.post(
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
            how = self.rng.choice([Fails.TOO_MANY, Fails.ERROR, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE, Fails.HANG])
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

    def amid(self) -> bool:
        """Whether a daemon died amid a job."""
        return bool(self.tables("SELECT id FROM delivery_jobs WHERE state = 'running'"))

    def held(self) -> list[str]:
        """Name the tasks that wait for another day."""
        parked = self.tables("SELECT key, reason FROM delivery_tasks WHERE phase = 'parked'")
        return [key for key, reason in parked if reason.startswith(TODAY)]

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
        return {"columns": self.columns(), "merged": dict(merged), "tasks": tasks, "out": self.out()}

    def deploys(self) -> Counter[tuple[str, str]]:
        """Tell how many releases of each app's commit came to be active."""
        return Counter(self.tables("SELECT app, commit_id FROM releases WHERE activated_at IS NOT NULL"))

    def out(self) -> int:
        """Tell the commits of how many tasks that are done were brought out, by themselves or in another one's history.

        Which of the two is no matter of faults only: who is merged later may be deployed sooner.
        """
        brought: dict[str, set[str]] = {name: set() for name in PROJECTS}
        for project, commit in self.deploys():
            brought[project] |= self.gitea.repos[f"team/{project}"].history(commit)
        done = self.tables("SELECT project, sha FROM delivery_tasks WHERE phase = 'done'")
        return sum(sha in brought[project] for project, sha in done)

    def brought_out(self) -> tuple[Counter[str], Counter[str]]:
        """Tell how often hosts were told to run each task's version, and how many releases of it were begun."""
        lines = [line for file in (self.folder / HOSTS).iterdir() for line in file.read_text().splitlines()]
        told = Counter(json.loads(line)["web"] for line in lines)
        begun = self.tables("SELECT images FROM releases WHERE began_at IS NOT NULL")
        return told, Counter(json.loads(images)["web"] for (images,) in begun)


async def settle(world: World, limit_s: float) -> None:
    """Wait for the end. Raises `TimeoutError` with what is left."""
    until = asyncio.get_running_loop().time() + limit_s
    while not world.settled():
        world.people.answer()
        await world.people.order()
        if asyncio.get_running_loop().time() > until:
            left = world.tables("SELECT key, stage, phase, reason FROM delivery_tasks WHERE phase NOT IN ('done')")
            raise TimeoutError(f"{left}\n{(world.folder / 'log').read_text(errors='replace')[-3000:]}")
        await asyncio.sleep(0.1)


def environment_of(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def told(world: World) -> str:
    """Write what was done, for the report."""
    return json.dumps({"taken": world.taken, "sent": world.sent, "statuses": world.statuses})
