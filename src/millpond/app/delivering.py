"""The delivery of one configuration: ledger, engine, counterparts and loops, wired. A reload makes a new one.

Its loops run in the first worker only; commands and webhooks work in every one, since all that they write is in the
database, and who runs the loops is woken (`waking`). Each loop has its switch and tells how it is (`parts`).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from millpond.adapters.localboard import LocalBoard
from millpond.adapters.localgit import LocalGit
from millpond.app.breaking import Breaker
from millpond.app.counterparts import (
    Counted,
    Counterparts,
    budget_of,
    files_of,
    forge_of,
    project_of,
    remote_of,
    tracker_of,
)
from millpond.app.hosted import Hosted
from millpond.app.numbers import KEPT_S as NUMBERS_S
from millpond.app.numbers import Numbers
from millpond.app.parts import Parts
from millpond.app.pipelines import KEPT_S, NEAR_S, Pipelines
from millpond.app.waking import LOOK, POLL, SEND, WORK, Wakes
from millpond.app.working import Means, Working
from millpond.config import Config
from millpond.delivery.board import board
from millpond.delivery.board.states import StatesCache
from millpond.delivery.engine import Engine, EngineOptions, Surroundings
from millpond.delivery.ledger.books import Books, Point
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.pruning import prune
from millpond.delivery.ledger.showing import Showing
from millpond.delivery.model import Key, Project
from millpond.delivery.naming import parse_key
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.ratebudget import used_for
from millpond.delivery.rates import Use
from millpond.delivery.worker import WorkerOptions
from millpond.errors import NotFound
from millpond.hosts.ports import Notifier
from millpond.hosts.runs import Runs

LOOKERS = 4
SENDERS = 1
"""Not more: moves of an issue must leave in their order."""
AT_ONCE = 10
PREPARE_S = 10.0
"""How long a reload waits for new repositories."""
IDLE_S = 5.0
"""How long nobody looks for himself, when nobody is woken."""
REAP_S = 10.0
TAKE_UP_S = 60.0
"""How long the reaper waits for the worker to take up what an earlier process left."""
PIPELINES_S = 5.0
"""How long the pipelines of all projects may take to be read, once the polls are over."""
MEASURE_S = 5.0
PRUNE_S = 600.0
DAY_S = 86400.0
TABLES = ("delivery", "tracker", "forge", "projects", "pipeline", "notify")
"""The tables of the configuration that a delivery is made of."""
log = structlog.get_logger(__name__)


class Delivering:
    """The delivery of one open application."""

    def __init__(
        self,
        app: Hosted,
        config: Config,
        *,
        notifier: Notifier,
        counterparts: Counterparts | None = None,
    ) -> None:
        self._app, self.config, self._notifier = app, config, notifier
        self.options = config.delivery
        self.wakes = Wakes(app.data)
        self.books = Books(app.db, hook=self._committed)
        self.ledger, self.showing = Ledger(self.books), Showing(self.books)
        self.projects = {name: project_of(name, config) for name in config.projects}
        made = (
            counterparts(app, config) if counterparts else (tracker_of(app, config, self.wakes), forge_of(app, config))
        )
        self.bare_tracker, self.forge = made
        self.numbers = Numbers(app.clock, 0.0 if isinstance(self.bare_tracker, LocalBoard) else NUMBERS_S)
        self.tracker = Counted(made[0], app.metrics)
        self.states = StatesCache(
            self.tracker.states,
            app.clock.monotonic,
            ttl_s=config.tracker.states_ttl_s,
            names=board.names(config.tracker.states),
            defaults={Key(key): value for key, value in config.tracker.default_states.items()},
        )
        self._files = files_of(self.forge, config, app.clock)
        kept_s = NEAR_S if isinstance(self.forge, LocalGit) else KEPT_S
        self.pipelines = Pipelines(config, self._files, app.clock, kept_s)
        self.breaker = Breaker(self.options, self.showing, self.ledger)
        self.engine = Engine(self.ledger, self._around(), app.clock.monotonic, self._engine_options())
        self.parts = Parts(app.clock, Runs(app.db))
        lease_s = self.options.lease_s
        work = WorkerOptions(self.options.max_concurrency, lease_s=lease_s, beat_s=min(5.0, lease_s / 4))
        self.working = Working.of(app, self._means(), options=work)
        self._taken_up = asyncio.Event()
        self._make_parts()
        self._tasks: list[asyncio.Task[None]] = []
        self._preparing: asyncio.Task[None] | None = None
        self.hook: Callable[[Point, str], None] | None = None
        """Called at each of the ledger's commits; tests bring one."""

    def _around(self) -> Surroundings:
        return Surroundings(
            tracker=self.tracker,
            forge=self.forge,
            states=self.states,
            projects=self.projects,
            pipeline=self.pipelines.of,
            alert=self._alert,
            paused=self.breaker.paused,
            missing=self._missing,
            place=lambda project: remote_of(self.forge, self.config, project).url,
        )

    async def _missing(self, key: str) -> bool:
        """Say whether the embedded board has no issue of a key, now; of another tracker that is not known."""
        board_, parsed = self.bare_tracker, parse_key(key)
        if not isinstance(board_, LocalBoard) or parsed is None:
            return False
        project = next((one for one in self.projects.values() if one.prefix == parsed[0]), None)
        return project is None or not await board_.get(project, [str(parsed[1])])

    def _means(self) -> Means:
        return Means(
            ledger=self.ledger,
            tracker=self.tracker,
            forge=self.forge,
            projects=self.projects,
            pipeline=self.pipelines.of,
            remote=lambda project: remote_of(self.forge, self.config, project),
            max_concurrency=self.options.max_concurrency,
            passed={name: secret.get_secret_value() for name, secret in self.options.environment.items()},
            keep_runs_s=self.options.keep_days * DAY_S,
        )

    def _engine_options(self) -> EngineOptions:
        return EngineOptions(
            grace_s=self.options.reconcile_grace_s,
            lease_s=self.options.lease_s,
            sweep_s=self.options.sweep_interval_s,
            dependencies=self.options.task_deps,
        )

    def _make_parts(self) -> None:
        on, options = self.on, self.options
        self.parts.part("looks", enabled=on and options.looks, looked=0)
        self.parts.part("outbox", enabled=on and options.outbox, sent=0)
        self.parts.part("reconcile", enabled=on and options.reconcile, **_nothing_found())
        self.parts.part("reaper", enabled=on and options.reaper, reaped=0)
        self.parts.part("upkeep", enabled=on and options.upkeep, removed=0)
        self.parts.part("metrics", enabled=on and options.metrics)
        self.parts.part("worker", enabled=on and options.worker, working=[], done=0)

    @property
    def on(self) -> bool:
        """Whether there is anything to deliver."""
        return self.options.enabled and bool(self.projects)

    def asking(self) -> dict[str, Any]:
        """Tell how asking tracker and forge goes, in the process that does it: the tracker's budget, bad pipelines."""
        return {"budget": budget_of(self.bare_tracker), "pipelines_refused": dict(self.pipelines.wrong)}

    def project(self, name: str) -> Project:
        """Give a project. Raises `NotFound`."""
        found = self.projects.get(name)
        if found is None:
            known = ", ".join(self.projects) or "none is configured; write [projects.NAME]"
            raise NotFound(f"there is no project {name!r}; known: {known}")
        return found

    # the loops

    def start(self) -> None:
        """Start the loops of whatever is switched on."""
        if not self.on:
            return
        self.parts.running = True
        self.wakes.listen()
        loops: list[tuple[str, int, Callable[[], Awaitable[Mapping[str, Any] | None]]]] = [
            ("looks", LOOKERS, self._look),
            ("outbox", SENDERS, self._send),
            ("reconcile", 1, self._poll),
            ("reaper", 1, self._reap),
            ("upkeep", 1, self._forget),
            ("metrics", 1, self._measure),
            ("worker", 1, self._work),
        ]
        if not self.parts.part("worker").enabled:
            self._taken_up.set()
        self._preparing = asyncio.create_task(self._prepare(), name="delivery repositories")
        self._tasks.append(self._preparing)
        for name, count, work in loops:
            if self.parts.part(name).enabled:
                self._tasks += [
                    asyncio.create_task(self.parts.loop(name, work), name=f"delivery {name}") for _ in range(count)
                ]

    async def prepared(self) -> None:
        """Wait until the embedded repositories are there, where it is this process that makes them."""
        if self._preparing is None:
            return
        _, late = await asyncio.wait([self._preparing], timeout=PREPARE_S)
        if late:
            log.warning("repositories are still being made", projects=sorted(self.projects))

    async def _prepare(self) -> None:
        """Make the embedded repositories, so that people can push at once."""
        forge = self.forge
        if not isinstance(forge, LocalGit):
            return
        for project in self.projects.values():
            try:
                await forge.ensure(project)
            except ForgeFailed as error:
                log.warning("a repository could not be made", project=project.name, error=str(error))

    async def _look(self) -> Mapping[str, Any]:
        count = await self.engine.look(1)
        if count:
            self.wakes.bell(LOOK).ring()  # there may be more: another one helps
            self._app.metrics.looked(count)
            return {"looked": self.parts.part("looks").told["looked"] + count}
        await self.wakes.wait(LOOK, await self._idle("nudge"))
        return {}

    async def _send(self) -> Mapping[str, Any]:
        count = await self.engine.send(AT_ONCE)
        if count:
            return {"sent": self.parts.part("outbox").told["sent"] + count}
        await self.wakes.wait(SEND, await self._idle("outbox"))
        return {}

    async def _work(self) -> Mapping[str, Any]:
        """Take up what an earlier process left, once; then claim what may run, and wait to be woken."""
        worker = self.working.worker
        if not self._taken_up.is_set():
            await worker.take_up()
            self._taken_up.set()
        if not await worker.tick():
            await self.wakes.wait(WORK, await self._idle("job"))
        return {"working": list(worker.working), "done": worker.done}

    async def _idle(self, what: str) -> float:
        """Say how long nothing of a kind is due."""
        waiting = await self.showing.waiting(self.options.max_concurrency, self.working.worker.steps)
        due: float | None = getattr(waiting, what)
        return IDLE_S if due is None else min(max(due - waiting.now, 0.02), IDLE_S)

    async def _poll(self) -> Mapping[str, Any]:
        part = self.parts.part("reconcile")
        part.told.update(await self.poll())
        await self.wakes.wait(POLL, self.options.poll_interval_s)
        return self.asking()

    async def poll(self) -> dict[str, Any]:
        """Ask the tracker once what nobody told; gives what came of it."""
        found = await self.engine.poll()
        now, failed = self._app.clock.now(), {one.project: one.error for one in found if one.error}
        metrics = self._app.metrics
        for one in found:
            metrics.polled(one.project, "failed" if one.error else "complete" if one.complete else "incomplete", now)
            metrics.nudged("poll", len(one.issues))
        told = {
            "found": sum(len(one.issues) for one in found),
            "failed": failed,
            "incomplete": [one.project for one in found if not one.complete and not one.error],
        }
        if all(one.complete for one in found):
            told["last_complete_ts"] = now
        return {**told, "pipelines_refused": await self._refused()}

    async def _refused(self) -> dict[str, str]:
        """Read every project's pipeline, also where no issue asks for it; gives what is wrong with which."""
        with contextlib.suppress(TimeoutError):  # a forge that hangs holds up no poll; who looks at an issue asks anew
            async with asyncio.timeout(PIPELINES_S):
                for project in self.projects.values():
                    with contextlib.suppress(ForgeFailed), used_for(Use.LISTING):
                        await self.pipelines.of(project)
        return dict(self.pipelines.wrong)

    async def _reap(self) -> Mapping[str, Any]:
        """Give up the jobs of workers that died; ours are taken up before, if that can be done at all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_UP_S):
                await self._taken_up.wait()
        lost = await self.ledger.jobs.reap()
        for job in lost:
            log.warning("a job was lost", job=job.id, stage=job.stage, project=job.project, worker=job.worker)
        part = self.parts.part("reaper")
        part.told["reaped"] += len(lost)
        await asyncio.sleep(REAP_S)
        return {}

    async def _forget(self) -> Mapping[str, Any]:
        removed = 0
        while count := await prune(self.books, self.options.keep_days * DAY_S):
            removed += count
            await asyncio.sleep(0.1)
        await self.working.sweep()
        part = self.parts.part("upkeep")
        part.told["removed"] += removed
        await asyncio.sleep(PRUNE_S)
        return {}

    async def _measure(self) -> Mapping[str, Any]:
        """Count for the metrics."""
        shows, now = self.showing, self._app.clock.now()
        phases, backlog = await shows.phases(), await shows.backlog()
        self._app.metrics.delivery(await self.ledger.counts(), phases, backlog, await shows.spent_today(), now)
        await asyncio.sleep(MEASURE_S)
        return {}

    async def _alert(self, text: str) -> None:
        log.warning("an alert of the delivery", text=text)
        await self._notifier.notify("Millpond delivery", text)

    def _committed(self, point: Point, moment: str) -> None:
        if self.hook is not None:
            self.hook(point, moment)
        self.wakes.committed(point, moment)

    # its end

    def forget_boards(self) -> None:
        """Read columns and pipelines anew: what a reload does where nothing else has changed."""
        self.states.clear()
        self.pipelines.clear()

    async def close(self) -> None:
        """Stop the loops and let go of the counterparts. What runs detached goes on."""
        await self.working.worker.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.parts.running = False
        self.wakes.close()
        for one in (self.bare_tracker, self.forge, self._files):
            closing = getattr(one, "close", None)
            if closing is not None and inspect.iscoroutinefunction(closing):
                await closing()


def _nothing_found() -> dict[str, Any]:
    found = {"found": 0, "failed": {}, "incomplete": [], "last_complete_ts": None}
    return {**found, "budget": None, "pipelines_refused": {}}
