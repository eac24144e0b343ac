"""Whether what runs is what was wanted: judged from one look after another. PURE.

A container is there when it has the release's image and is healthy, or, without a health check, has run for `steady_s`
without a restart; one that is not restarted and ended with 0 has done its work. A service of a swarm is there when all
of its tasks run so, and its update is over. What can't become well any more is told at once, not when the time is over.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millpond.hosts.commands import brief
from millpond.hosts.orchestrators import Container, Service, Task

LOOPING = 3
"""Restarts, or failed tasks, that were seen before it is called a failure."""
NOT_BEGUN = 2
"""So many times as long is waited for an update to begin that should.

Not longer: an engine may tell a change where there is none (20.10 gives an empty DNSConfig in one of two equal specs).
"""
_ENDED_BADLY = frozenset({"failed", "rejected", "orphaned"})
_STUCK = frozenset({"paused", "rollback_started", "rollback_paused", "rollback_completed"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many containers of which image a service has."""

    image: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one service. `who`: the container or service whose last words explain it; empty: none."""

    service: str
    why: str
    who: str = ""

    def __str__(self) -> str:
        """Write the line."""
        return f"{self.service}: {self.why}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look came to: there (neither), not yet (`waiting`), or never (`failed`)."""

    failed: tuple[Trouble, ...] = ()
    waiting: tuple[Trouble, ...] = ()

    @property
    def there(self) -> bool:
        """Whether all is as wanted."""
        return not self.failed and not self.waiting


@dataclass(frozen=True, slots=True)
class Seen:
    """What earlier looks knew of a container: since when it runs without a restart, and its restarts at first."""

    run: str
    since: float
    restarts: int


def wanted_of(document: str) -> dict[str, Wanted]:
    """Give what a release's document for compose wants of each service."""
    services: Mapping[str, Mapping[str, object]] = json.loads(document)["services"]
    return {name: Wanted(str(one["image"]), _count(one)) for name, one in services.items()}


def _count(service: Mapping[str, object]) -> int:
    deploy = service.get("deploy")
    replicas = deploy.get("replicas") if isinstance(deploy, Mapping) else None
    count = service.get("scale") if replicas is None else replicas
    return int(count) if isinstance(count, (int, str)) and str(count).isdigit() else 1


class Looks:
    """The looks at one host's containers during one deploy."""

    def __init__(self, wanted: Mapping[str, Wanted], steady_s: float) -> None:
        self._wanted, self._steady_s = wanted, steady_s
        self._seen: dict[str, Seen] = {}

    def judge(self, containers: Iterable[Container], now: float) -> Verdict:
        """Judge what is there now; `now` on a clock that only goes on."""
        each: dict[str, list[Container]] = defaultdict(list)
        for container in containers:
            each[container.service].append(container)
        failed: list[Trouble] = []
        waiting: list[Trouble] = []
        for name, wanted in self._wanted.items():
            there = [one for one in each[name] if one.image == wanted.image]
            for one in there:
                bad, yet = self._of(one, now)
                failed += [Trouble(name, bad, one.id)] if bad else []
                waiting += [Trouble(name, yet, one.id)] if yet else []
            waiting += _missing(name, wanted, len(there), len(each[name]))
        return Verdict(tuple(failed), tuple(waiting))

    def _of(self, one: Container, now: float) -> tuple[str, str]:
        """Give why a container can't become well, or why it is not yet."""
        seen = self._seen.get(one.id) or Seen(one.started_at, now, one.restarts)
        if seen.run != one.started_at:
            seen = Seen(one.started_at, now, seen.restarts)
        self._seen[one.id] = seen
        if one.restarts - seen.restarts >= LOOPING and one.health != "healthy":
            return f"restarts again and again: {_ended(one)}", ""
        match one.status:
            case "running":
                return self._running(one, now - seen.since)
            case "exited" | "dead":
                return _exited(one)
            case "created" if one.error:
                return f"could not be started: {brief(one.error)}", ""
            case "restarting":
                return "", f"restarts: {_ended(one)}"
        return "", f"is {one.status}"

    def _running(self, one: Container, ran_s: float) -> tuple[str, str]:
        match one.health:
            case "healthy":
                return "", ""
            case "unhealthy":
                return f"is unhealthy: {brief(one.health_said) or 'its health check fails and says nothing'}", ""
            case "":
                return "", "" if ran_s >= self._steady_s else "runs, but not for long yet"
        return "", f"its health check has not passed yet: {brief(one.health_said) or 'it says nothing'}"


def _missing(name: str, wanted: Wanted, there: int, of_any: int) -> Iterator[Trouble]:
    if there < wanted.count:
        old = " (another image runs)" if of_any > there else ""
        yield Trouble(name, f"{there} of {wanted.count} containers are there{old}")


def _ended(one: Container) -> str:
    memory = ", out of memory" if one.out_of_memory else ""
    return f"exited with code {one.exit_code}{memory}" + (f": {brief(one.error)}" if one.error else "")


def _exited(one: Container) -> tuple[str, str]:
    if one.exit_code == 0 and not one.error:
        again = one.policy in {"always", "unless-stopped"}
        return "", "is stopped" if again else ""
    return _ended(one), ""


class StackLooks:
    """The looks at one stack during one deploy. `images`: what each service (by its own name) is to run."""

    def __init__(self, app: str, images: Mapping[str, str], steady_s: float) -> None:
        self._images = {f"{app}_{name}": image for name, image in images.items()}
        self._app, self._steady_s = app, steady_s
        self._since: dict[str, float] = {}
        self._before: frozenset[str] = frozenset()
        self._old: frozenset[str] = frozenset()
        self._versions: dict[str, int] = {}

    def before(self, tasks: Iterable[Task], services: Iterable[Service] = ()) -> None:
        """Take note of what was there before the stack was handed over. How steady a task was counts for nothing.

        One of the same image may be about to be replaced, by an update that has not begun yet.
        """
        known = {task.id: task for task in tasks}
        self._old = frozenset(known)
        self._before = frozenset(name for name, task in known.items() if task.state in _ENDED_BADLY)
        self._versions = {service.name: service.version for service in services}

    def judge(self, services: Iterable[Service], tasks: Sequence[Task], now: float, nodes: int = 0) -> Verdict:
        """Judge what is there now; `nodes`: how many take tasks."""
        known = {service.name: service for service in services}
        failed: list[Trouble] = []
        waiting: list[Trouble] = []
        for name, image in self._images.items():
            short = name.removeprefix(f"{self._app}_")
            own = [task for task in tasks if task.service == name]
            service = known.get(name)
            if service is None:
                waiting.append(Trouble(short, "the swarm does not have it yet"))
                continue
            bad, yet = self._of(service, image, own, now, nodes)
            failed += [Trouble(short, bad, name)] if bad else []
            waiting += [Trouble(short, yet, name)] if yet else []
        return Verdict(tuple(failed), tuple(waiting))

    def _of(self, service: Service, image: str, tasks: Sequence[Task], now: float, nodes: int) -> tuple[str, str]:
        errors = [task for task in tasks if task.state in _ENDED_BADLY and task.id not in self._before]
        errors = [task for task in errors if task.image == image]
        told = f": {_task_error(errors[0])}" if errors else ""
        if service.update in _STUCK:  # before the image: what was rolled back has the old one
            return f"its update is {service.update.replace('_', ' ')}{told or ': ' + brief(service.message)}", ""
        if service.image != image:
            return "", "has another image"
        if len(errors) >= LOOPING:
            return f"fails again and again{told}", ""
        state = "complete" if service.job else "running"
        right = [task for task in tasks if task.image == image and task.state == state]
        if not service.job:
            right = [task for task in right if task.desired == "running" and self._steady(task, service, now)]
        wanted = _wanted_tasks(service, tasks, nodes)
        if not wanted and service.wanted is None:
            return "", "no node has a task of it: do its constraints fit any?"
        if len(right) < wanted or service.update == "updating":
            return "", f"{len(right)} of {wanted} tasks are {state}{told}"
        return "", ""

    def _steady(self, task: Task, service: Service, now: float) -> bool:
        """Whether a task runs for long enough; an old one for longer, where an update may not have begun yet.

        The swarm forgets an earlier update's end with each change, and says nothing of one that has nothing to do.
        """
        changed = service.version != self._versions.get(service.name, service.version) and not service.same
        about_to_go = task.id in self._old and changed and not service.update
        enough_s = self._steady_s * (NOT_BEGUN if about_to_go else 1)
        return now - self._since.setdefault(task.id, now) >= enough_s


def _wanted_tasks(service: Service, tasks: Sequence[Task], nodes: int) -> int:
    """Say how many tasks a service has to have: one for each node that takes it, where it is to run everywhere."""
    if service.wanted is not None:
        return service.wanted
    wished = sum(task.desired == ("complete" if service.job else "running") for task in tasks)
    return wished if service.constrained else max(wished, nodes)


def _task_error(task: Task) -> str:
    return brief(f"{task.error or task.state} (on {task.node or 'no node'})")
