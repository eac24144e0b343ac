"""Hosts whose engines hold images, by the shipped fake; a registry that counts; what a pre-pull works with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from millpond.hosts.address import Address
from millpond.hosts.apps import AppOptions, Resolved, Wanted
from millpond.hosts.commands import Docker
from millpond.hosts.giving import Means, Underway
from millpond.hosts.model import Completed, HostOptions, Kind
from millpond.hosts.ports import NotPulled
from millpond.hosts.references import Reference, canonical, parse_reference
from millpond.testing.hosts import Asked, Crowd, FakeHost

POND = "pond.lan:8080"


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


@dataclass
class Simulated:
    """A host with an engine: what it pulls by digest it has; `fails` are its next pulls' words."""

    name: str
    crowd: Crowd
    platform: str = "linux/amd64"
    pull_s: float = 0.0
    fails: list[object] = field(default_factory=list)
    images: dict[str, set[str]] = field(default_factory=dict)
    """Canonical reference -> all names of the same image."""
    pulls: list[tuple[str, ...]] = field(default_factory=list)
    by_tag: str = digest("f")

    def __post_init__(self) -> None:
        self.fake = FakeHost(self.name, Crowd())
        self.fake.on("docker", "version", answer=f"{self.platform}\n")
        self.fake.on("docker", "image", "inspect", answer=self._inspect)
        self.fake.on("docker", "image", "pull", answer=self._pull, delay_s=self.pull_s)
        self.fake.on("docker", "image", "tag", answer=self._tag)

    @property
    def host(self) -> FakeHost:
        return self.fake

    @property
    def options(self) -> HostOptions:
        return HostOptions(self.name, Address("local"))

    @property
    def docker(self) -> Docker:
        return Docker()

    def have(self, *names: str) -> None:
        image = {canonical(name) for name in names}
        self.images |= dict.fromkeys(image, image)

    def _inspect(self, asked: Asked) -> Completed:
        words = asked.argv[asked.argv.index("--") + 1 :]
        built = next((image for image in self.images.values() if not any("@" in one for one in image)), None)
        found = [built if word == digest("1") else self.images.get(canonical(word)) for word in words]
        lines = [self._line(image) for image in found if image]
        missing = [f"Error: No such image: {word}" for word, image in zip(words, found, strict=True) if not image]
        return Completed(bool(missing), "\n".join(lines), "\n".join(missing))

    def _line(self, image: set[str]) -> str:
        tags, digests = ([one for one in image if ("@" in one) is by] for by in (False, True))
        return json.dumps(
            {
                "id": digest("2" if digests else "1"), "tags": tags, "digests": digests,
                "created": "2026-01-01T00:00:00Z",
                "os": self.platform.split("/")[0], "architecture": self.platform.split("/")[1],
            }
        )  # fmt: skip

    async def _pull(self, asked: Asked) -> Completed:
        self.pulls.append(asked.argv)
        if self.fails:
            fault = self.fails.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return Completed(1, "", f"Error response from daemon: {fault}")
        name = canonical(asked.argv[-1])
        self.have(name, *([] if "@" in name else [f"{parse_reference(name).name}@{self.by_tag}"]))
        return Completed(0, "aaaaaaaaaaaa: Pull complete\n")

    def _tag(self, asked: Asked) -> Completed:
        image = self.images[canonical(asked.argv[-2])]
        image.add(canonical(asked.argv[-1]))
        self.images[canonical(asked.argv[-1])] = image
        return Completed(0)


class Counting:
    """A registry behind the pond; `tags` are its digests, `upstream` each object's copies."""

    def __init__(self, **tags: str) -> None:
        self.tags = tags
        self.upstream: dict[str, int] = {}
        self.pins: list[str] = []
        self.warmed: list[tuple[str, tuple[str, ...]]] = []
        self.dropped: list[str] = []
        self.fails: dict[str, list[NotPulled]] = {}
        self.warm_s = 0.0
        self.warming = Crowd()

    def name(self, reference: Reference) -> str:
        if reference.domain not in {"docker.io", POND}:
            raise NotPulled(f"no repository of the pond stands for {reference.domain}", kind=Kind.PERMANENT)
        return f"{POND}/hub/{reference.path}"

    async def pin(self, reference: Reference, platform: str, *, refresh: bool = False) -> str:
        self.pins.append(f"{reference.short}{platform and f' {platform}'}{' again' * refresh}")
        self._fault(f"pin {reference.short}")
        name = reference.path.removeprefix("library/")
        if name not in self.tags:
            raise NotPulled("manifest unknown: the registry has no such image", kind=Kind.PERMANENT)
        return self.tags[name]

    async def warm(self, reference: Reference, platforms: Collection[str], heard) -> dict[str, dict[str, int]]:
        self.warming.enter()
        try:
            await asyncio.sleep(self.warm_s)
        finally:
            self.warming.leave()
        self._fault(f"warm {reference.path}")
        self.warmed.append((reference.short, tuple(platforms)))
        for platform in platforms:
            key = f"{reference.digest} {platform}"
            self.upstream[key] = self.upstream.get(key, 0) + 1
        heard(1000, 1000)
        return {platform: {digest("a"): 1000} for platform in platforms}

    async def drop(self, reference: Reference) -> int:
        self.dropped.append(reference.short)
        return 1

    def _fault(self, what: str) -> None:
        if self.fails.get(what):
            raise self.fails[what].pop(0)


@dataclass
class Work:
    """What a pre-pull works with, and what it told."""

    registry: Counting
    room: bool = True
    slept: list[float] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    measured: list[tuple[str, str, int]] = field(default_factory=list)
    told: list[tuple[str, int, int | None]] = field(default_factory=list)
    away: str = ""
    underway: Underway = field(default_factory=Underway)
    on_room: Callable[[], Awaitable[None]] | None = None

    @property
    def means(self) -> Means:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def make_room(host: str) -> bool:
            self.rooms.append(host)
            if self.on_room:
                await self.on_room()
            return self.room

        return Means(
            self.registry, make_room, self.underway,
            measured=lambda *one: self.measured.append(one), sleep=sleep, away=self.away,
        )  # fmt: skip

    def tell(self, text: str, done: int, total: int | None) -> None:
        self.told.append((text, done, total))


def app(*hosts: str, **options: object) -> AppOptions:
    return AppOptions("shop", "/srv/shop", hosts, pond=POND, **options)  # type: ignore[arg-type]


def resolved(*images: str | Wanted) -> Resolved:
    wanted = tuple(one if isinstance(one, Wanted) else Wanted(one) for one in images)
    return Resolved({}, wanted, {f"s{number}": one for number, one in enumerate(wanted)})


def hosts(*names: str, **options: object) -> list[Simulated]:
    crowd = Crowd()
    return [Simulated(name, crowd, **options) for name in names]  # type: ignore[arg-type]


__all__ = ["POND", "Counting", "Simulated", "Work", "app", "digest", "hosts", "resolved"]
