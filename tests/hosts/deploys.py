# ruff: noqa: ARG002 - stand-ins take what the real ones take
"""Hosts by script that can be deployed to, and what comes before a deploy, by script too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.hosts.fleet import Counting

from millpond.db import Database
from millpond.hosts.address import Address
from millpond.hosts.apps import AppOptions, HostPull, Pinned, Prepulled, PullFailure, Resolved, Wanted
from millpond.hosts.deploying import Deploying
from millpond.hosts.giving import Means
from millpond.hosts.holding import Holding
from millpond.hosts.model import Completed, HostOptions, Kind
from millpond.hosts.references import canonical
from millpond.hosts.releases import Releases
from millpond.hosts.restoring import restore
from millpond.hosts.rollout import Pace, Place
from millpond.leases import Leases
from millpond.testing.clock import FakeClock
from millpond.testing.hosts import Asked, Crowd, FakeHost

NAME = "pond.lan:8080/hub/app"


def reference(version: str) -> str:
    return f"{NAME}@sha256:{version.encode().hex():0>64}"


@dataclass
class FakeEngine:
    """What a scripted host runs: `up` brings out the document that it is given, for the app that it names.

    `breaks` has how containers of an image end up: changes of what `container inspect` tells.
    """

    name: str
    breaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    crowd: Crowd = field(default_factory=Crowd)
    on_up: Callable[[], Completed | None] = lambda: None

    def host(self) -> FakeHost:
        made = FakeHost(self.name, self.crowd)
        made.on("sh", "-c", answer=lambda asked: made.run(asked.argv[6:], timeout_s=60, stdin=asked.stdin))
        made.on("true", answer="")
        made.on("docker", "compose", "version", answer="2.40.3\n")
        made.on("docker", "compose", "--ansi", answer=self._up)
        made.on("docker", "container", "ls", answer=lambda _: Completed(0, "".join(f"{one}\n" for one in self._ids())))
        made.on("docker", "container", "inspect", answer=self._inspected)
        made.on("docker", "container", "logs", answer="starting\nboom: pw is canary-pw\n")
        made.on("docker", "version", answer="linux/amd64\n")
        made.on("docker", "image", "inspect", answer=self._image)
        made.on("docker", "image", "pull", answer=Completed(1, "", "connection refused"))
        return made

    def _up(self, asked: Asked) -> Completed:
        text = (asked.stdin or b"").decode()
        self.documents.append(text)
        done = self.on_up()
        if done is not None:
            return done
        self.running = {name: one["image"] for name, one in json.loads(text)["services"].items()}
        return Completed(0, "", " Container shop-web-1  Started\n")

    def _ids(self) -> list[str]:
        return [f"{number:064x}" for number, _ in enumerate(self.running, 1)]

    def _inspected(self, asked: Asked) -> Completed:
        services = dict(zip(self._ids(), self.running.items(), strict=True))
        lines = []
        for one in asked.argv[asked.argv.index("--") + 1 :]:
            service, image = services[one]
            state = {"Status": "running", "StartedAt": "t", "Health": {"Status": "healthy"}}
            state |= self.breaks.get(image, {})
            labels = {"com.docker.compose.service": service}
            found = {"id": one, "name": f"/{service}", "labels": labels, "image": image, "restarts": 0, "policy": "no"}
            lines.append(json.dumps(found | {"state": state}))
        return Completed(0, "\n".join(lines))

    def _image(self, asked: Asked) -> Completed:
        words = asked.argv[asked.argv.index("--") + 1 :]
        gone = [word for word in words if word not in self.images]
        lines = [self._line(word, asked.argv) for word in words if word in self.images]
        return Completed(bool(gone), "\n".join(lines), "\n".join(f"Error: No such image: {word}" for word in gone))

    def _line(self, name: str, argv: tuple[str, ...]) -> str:
        image_id = name if name.startswith("sha256:") else "sha256:" + "f" * 64
        if "{{json .Id}}" in argv:
            return json.dumps(image_id)
        digests = [canonical(name)] if "@" in name else []
        return json.dumps(
            {"id": image_id, "tags": [], "digests": digests, "created": "", "os": "linux", "architecture": "amd64"}
        )


@dataclass
class FakePrepares:
    """Resolves to one service of the version that is wanted next, and gives it to every host, or refuses to."""

    engines: Mapping[str, FakeEngine]
    version: str = "1"
    failure: PullFailure | None = None
    asked: list[Mapping[str, str]] = field(default_factory=list)
    restored: list[Mapping[str, str]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    away: str = ""

    @property
    def means(self) -> Means:
        async def make_room(host: str) -> bool:
            self.rooms.append(host)
            return True

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return Means(Counting(), make_room, sleep=sleep, away=self.away)

    async def resolve(self, app: AppOptions, sets: Mapping[str, str]) -> Resolved:
        self.asked.append(sets)
        version = sets.get("VERSION", self.version)
        wanted = Wanted(f"app:{version}")
        service = {"image": wanted.reference, "environment": {"DB_PASSWORD": "canary-pw", "V": version}}
        return Resolved({"services": {"web": service}}, (wanted,), {"web": wanted})

    async def prepull(
        self,
        app: AppOptions,
        resolved: Resolved,
        told: Callable[..., None],
        *,
        refresh: bool = False,
        dry_run: bool = False,
    ) -> Prepulled:
        pins = {one: Pinned(one, reference(one.reference[4:]), "sha256:x") for one in resolved.wanted}
        for engine in self.engines.values():
            engine.images |= {pin.reference for pin in pins.values()}
        failures = (self.failure,) if self.failure else ()
        hosts = {name: HostPull(1, 0, 1 - len(failures), failures) for name in app.hosts}
        return Prepulled(pins, hosts)

    async def restore(self, app: AppOptions, images: Mapping[str, str], told: Callable[..., None]) -> None:
        self.restored.append(images)
        await restore(app, images, [self.places[name] for name in app.hosts], self.means, told)

    async def commit(self, app: AppOptions) -> str:
        return "c0ffee"


class FakeAsker:
    """Answers with one status after another; the last one for ever."""

    def __init__(self, *statuses: int | OSError) -> None:
        self.statuses, self.asked = list(statuses) or [200], 0

    async def status(self, url: str, timeout_s: float) -> int:
        self.asked += 1
        found = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(found, OSError):
            raise found
        return found


@dataclass
class World:
    """Everything that a deploy needs, by script."""

    app: AppOptions
    engines: dict[str, FakeEngine]
    hosts: dict[str, FakeHost]
    prepares: FakePrepares
    asker: FakeAsker
    deploying: Deploying
    releases: Releases
    leases: Leases
    clock: FakeClock
    outcomes: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)


def world(db: Database, clock: FakeClock, hosts: tuple[str, ...] = ("web1", "web2", "web3"), **app: Any) -> World:
    crowd = Crowd()
    engines = {name: FakeEngine(name, crowd=crowd) for name in hosts}
    made = {name: engine.host() for name, engine in engines.items()}
    prepares, asker = FakePrepares(engines), FakeAsker()
    prepares.places = {name: Place(host, HostOptions(name, Address("local"))) for name, host in made.items()}
    releases, leases = Releases(db, clock), Leases(db, clock)
    outcomes: list[str] = []
    steps: list[str] = []
    deploying = Deploying(
        releases=releases,
        holding=Holding(leases, clock, "node", wait_s=0.0),
        place=prepares.places.__getitem__,
        prepares=prepares,
        asker=asker,
        measured=lambda app, outcome, _: outcomes.append(f"{app} {outcome}"),
        pace=Pace(look_every_s=0.001, steady_s=0.0),
        reached=steps.append,
    )
    options = AppOptions("shop", "/srv/shop", hosts, **{"converge_timeout_s": 5.0, **app})
    return World(options, engines, made, prepares, asker, deploying, releases, leases, clock, outcomes, steps)


FAILURE = PullFailure("app:1", Kind.PERMANENT, "manifest unknown")
