"""What brings a release out on a host, and tells how it is: command lines of compose and of a swarm, and readers. PURE.

A release's document goes in as standard input: nothing of it is left on the host, and nothing of the host (a ``.env``
in the login's folder, variables) gets into it. A person there uses ``docker compose -p APP ps`` (or logs, restart,
stop), which finds an app by the labels of its containers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from millpond.hosts.commands import Argv, Docker, Unreadable, brief, lines
from millpond.hosts.model import Completed
from millpond.hosts.references import canonical, is_image_id, parse_reference

TAIL = 20
"""Lines of a container's log that explain a failure."""
OLDEST_COMPOSE = 2
PROJECT, SERVICE, ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"
STACK = "com.docker.stack.namespace"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_VERSION = re.compile(r"v?(\d{1,4})\.\d")
_PROGRESS = re.compile(
    r"^\s*(?:Container|Network|Volume|Image|Service)?\s*\S+\s+"
    r"(?:Creating|Created|Starting|Started|Recreate|Recreated|Running|Waiting|Healthy|Exited|Stopping|Stopped|Removing|Removed)\s*$"
)


@dataclass(frozen=True, slots=True)
class Compose:
    """The command lines of one app's project; `program` is docker with its plug-in, or docker-compose, as found."""

    program: Argv
    app: str

    def up(self) -> Argv:
        """Bring the document on standard input out. Nothing is built or pulled, nor is any question answered yes.

        An answer would recreate a volume, and lose what is in it.
        """
        return (
            *self.program, "--ansi", "never", "--project-directory", "/", "--env-file", "/dev/null",
            "-p", named(self.app), "-f", "-", "up", "-d", "--no-build", "--remove-orphans",
        )  # fmt: skip


def compose_programs(docker: Docker) -> tuple[Argv, Argv]:
    """Give both forms of compose, in the order in which they are tried; each asked for its version by `version_of`."""
    single = ("docker-compose", *(("-H", docker.socket) if docker.socket else ()))
    return (*_docker(docker), "compose"), single


def version_of(program: Argv) -> Argv:
    """Ask a form of compose for its version."""
    return (*program, "version", "--short")


def reads_documents(said: str) -> bool:
    """Whether a compose of this version is one of those that this is written for."""
    found = _VERSION.match(said.strip())
    return found is not None and int(found[1]) >= OLDEST_COMPOSE


def containers_of(docker: Docker, app: str) -> Argv:
    """List the ids of an app's containers, stopped ones too."""
    return (*_docker(docker), "container", "ls", "-a", "-q", "--no-trunc", "--filter", f"label={PROJECT}={named(app)}")


def inspect_containers(docker: Docker, ids: Iterable[str]) -> Argv:
    """Describe containers, a JSON line for each."""
    return (*_docker(docker), "container", "inspect", "--format", _CONTAINER, "--", *ids)


def logs_of(docker: Docker, container: str) -> Argv:
    """Give the last lines that a container wrote."""
    return (*_docker(docker), "container", "logs", "--tail", str(TAIL), "--", container)


def stack_up(docker: Docker, app: str) -> Argv:
    """Deploy the document on standard input as a stack. No registry is asked: the images are named by digest.

    The nodes get the manager's own credentials, for the day on which a task moves to one that lacks its image.
    """
    return (
        *_docker(docker), "stack", "deploy", "-c", "-", "--resolve-image", "never", "--prune", "--with-registry-auth",
        named(app),
    )  # fmt: skip


def services_of(docker: Docker, app: str) -> Argv:
    """List the ids of a stack's services."""
    return (*_docker(docker), "service", "ls", "-q", "--filter", f"label={STACK}={named(app)}")


def inspect_services(docker: Docker, ids: Iterable[str]) -> Argv:
    """Describe services, a JSON line for each."""
    return (*_docker(docker), "service", "inspect", "--format", _SERVICE, *ids)


def tasks_of(docker: Docker, app: str) -> Argv:
    """List a stack's tasks, those that ended too, a JSON line for each."""
    return (*_docker(docker), "stack", "ps", "--no-trunc", "--format", "{{json .}}", named(app))


def nodes_of(docker: Docker) -> Argv:
    """List a swarm's nodes, a JSON line for each."""
    return (*_docker(docker), "node", "ls", "--format", "{{json .}}")


def task_logs(docker: Docker, service: str) -> Argv:
    """Give the last lines that a service's tasks wrote."""
    return (*_docker(docker), "service", "logs", "--tail", str(TAIL), "--raw", named(service))


def present(docker: Docker, reference: str) -> Argv:
    """Ask whether an image is there, by its reference by content, or its id."""
    return (*_docker(docker), "image", "inspect", "--format", "{{json .Id}}", "--", checked(reference))


def commit_of(path: str) -> Argv:
    """Ask which commit of git a folder is at."""
    return ("git", "-C", path, "rev-parse", "--verify", "--quiet", "HEAD")


def checked(reference: str) -> str:
    """Check a reference by content. Raises `ValueError`."""
    found = canonical(reference)
    return found if found.startswith("sha256:") else parse_reference(found).short


def named(text: str) -> str:
    """Check a project's or service's name. Raises `ValueError`."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no name of an app or service")
    return text


def _docker(docker: Docker) -> Argv:
    return ("docker", *(("-H", docker.socket) if docker.socket else ()))


_CONTAINER = (
    '{"id":{{json .Id}},"name":{{json .Name}},"labels":{{json .Config.Labels}},"image":{{json .Config.Image}},'
    '"state":{{json .State}},"restarts":{{json .RestartCount}},"policy":{{json .HostConfig.RestartPolicy.Name}}}'
)
_SERVICE = (
    '{"id":{{json .ID}},"name":{{json .Spec.Name}},"image":{{json .Spec.TaskTemplate.ContainerSpec.Image}},'
    '"mode":{{json .Spec.Mode}},"update":{{json .UpdateStatus}},"placement":{{json .Spec.TaskTemplate.Placement}}}'
)


@dataclass(frozen=True, slots=True)
class Container:
    """One container of an app, as its engine tells."""

    id: str
    name: str
    service: str
    image: str
    """As the document named it."""
    status: str
    """created, running, paused, restarting, removing, exited, dead."""
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    restarts: int = 0
    started_at: str = ""
    policy: str = ""
    """no, always, unless-stopped, on-failure."""
    health: str = ""
    """starting, healthy, unhealthy; empty: it has no health check."""
    health_said: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a stack. `wanted` tasks run at a time; None: one on each node."""

    id: str
    name: str
    image: str
    wanted: int | None
    update: str = ""
    """updating, paused, completed, rollback_started, rollback_paused, rollback_completed; empty: never updated."""
    message: str = ""
    job: bool = False
    """Its tasks come to an end: `wanted` of them have to."""
    constrained: bool = False
    """It does not run on every node."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a stack."""

    id: str
    service: str
    image: str
    node: str
    desired: str
    state: str
    """In lower case: running, failed, rejected, preparing, ..."""
    error: str


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a swarm."""

    id: str
    name: str
    usable: bool
    """Whether it is ready, and takes tasks."""


Observed: TypeAlias = tuple[Container, ...] | tuple[tuple[Service, ...], tuple[Task, ...]]


def read_containers(out: str) -> tuple[Container, ...]:
    """Read `inspect_containers`, without those of ``docker compose run``. Raises `Unreadable`."""
    found = (_read(line, _container) for line in lines(out))
    return tuple(one for one in found if one is not None)


def _container(found: Mapping[str, Any]) -> Container | None:
    labels, state = found["labels"] or {}, found["state"]
    if labels.get(ONE_OFF) == "True":
        return None
    health = state.get("Health") or {}
    log = health.get("Log") or [{}]
    status = str(health.get("Status") or "")
    return Container(
        id=_id(found["id"]),
        name=str(found["name"]).lstrip("/"),
        service=str(labels.get(SERVICE) or ""),
        image=str(found["image"]),
        status=str(state["Status"]),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or ""),
        out_of_memory=state.get("OOMKilled") is True,
        restarts=int(found["restarts"] or 0),
        started_at=str(state.get("StartedAt") or ""),
        policy=str(found["policy"] or "no"),
        health="" if status == "none" else status,
        health_said=str((log[-1] or {}).get("Output") or ""),
    )


def read_services(out: str) -> tuple[Service, ...]:
    """Read `inspect_services`. Raises `Unreadable`."""
    return tuple(_read(line, _service) for line in lines(out))


def _service(found: Mapping[str, Any]) -> Service:
    update = found["update"] or {}
    mode = found["mode"]
    (kind, told), *_ = [*mode.items()] or [("Replicated", {})]
    counts = {"Replicated": "Replicas", "ReplicatedJob": "TotalCompletions"}
    wanted = None if kind not in counts else int((told or {}).get(counts[kind], 1))
    return Service(
        id=str(found["id"]),
        name=named(str(found["name"])),
        image=str(found["image"]),
        wanted=wanted,
        update=str(update.get("State") or ""),
        message=str(update.get("Message") or ""),
        job=kind.endswith("Job"),
        constrained=any((found.get("placement") or {}).get(key) for key in ("Constraints", "Platforms")),
    )


def read_tasks(out: str) -> tuple[Task, ...]:
    """Read `tasks_of`. Raises `Unreadable`."""
    return tuple(_read(line, _task) for line in lines(out))


def _task(found: Mapping[str, Any]) -> Task:
    state = str(found["CurrentState"]).partition(" ")[0]
    service = str(found["Name"]).strip(" \\_").rpartition(".")[0]
    return Task(
        id=str(found["ID"]),
        service=service,
        image=str(found["Image"]),
        node=str(found["Node"]),
        desired=str(found["DesiredState"]).lower(),
        state=state.lower(),
        error=str(found["Error"]),
    )


def read_nodes(out: str) -> tuple[Node, ...]:
    """Read `nodes_of`. Raises `Unreadable`."""
    return tuple(_read(line, _node) for line in lines(out))


def _node(found: Mapping[str, Any]) -> Node:
    usable = str(found["Status"]).lower() == "ready" and str(found["Availability"]).lower() == "active"
    return Node(str(found["ID"]), brief(str(found["Hostname"])), usable)


def _read(line: str, read: Any) -> Any:
    try:
        return read(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"neither a container nor a service, task or node: {brief(line)!r}") from error


def read_service_ids(out: str) -> tuple[str, ...]:
    """Read `services_of`. Raises `Unreadable`."""
    found = tuple(line.strip() for line in lines(out))
    if not all(re.fullmatch(r"[a-z0-9]{1,64}", one) for one in found):
        raise Unreadable(f"no services' ids: {brief(out)!r}")
    return found


def _id(text: object) -> str:
    if not isinstance(text, str) or not is_image_id(text):
        raise Unreadable(f"{str(text)[:80]!r} is no id of Docker's")
    return text


def failure(done: Completed, shorten: Callable[[str], str] = brief) -> str:
    """Give why compose or a stack's deployment failed, in one line: what it says beside its progress, latest last.

    `shorten` makes that line, and masks what it must not show.
    """
    said = [line.strip() for line in lines(done.err or done.out) if not _PROGRESS.match(line)]
    told = list(dict.fromkeys(said))[-3:]
    return shorten("; ".join(told)) or f"rc={done.rc}, and it said nothing"
