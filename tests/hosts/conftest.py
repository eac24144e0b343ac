"""Hosts by script, a database, and a clock that only the test moves."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from millpond.db import Database, schema
from millpond.hosts.address import Address
from millpond.hosts.model import HostOptions
from millpond.hosts.prune import Watched
from millpond.hosts.runs import Runs
from millpond.leases import Leases
from millpond.testing.clock import FakeClock
from millpond.testing.hosts import FakeHost

ROOT = "/var/lib/docker"
INFO = json.dumps({"ServerVersion": "20.10", "DockerRootDir": ROOT, "Swarm": {"LocalNodeState": "inactive"}})
HEAD = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"


def df(used_percent: float, total: int = 1000) -> str:
    used = int(total * used_percent / 100)
    return f"{HEAD}/dev/vda {total} {used} {total - used} {used_percent:.0f}% /\n"


@dataclass
class FakeNotifier:
    """Keeps what it is told to send."""

    sent: list[tuple[str, str]] = field(default_factory=list)

    async def notify(self, title: str, body: str) -> None:
        self.sent.append((title, body))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database; to migrate one for each test would take most of their time."""
    path = tmp_path_factory.mktemp("migrated") / "catalog.sqlite"
    schema.ensure(path)
    return path


@pytest.fixture
async def db(tmp_path: Path, migrated: Path) -> AsyncIterator[Database]:
    shutil.copy(migrated, tmp_path / "catalog.sqlite")
    made = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    yield made
    await made.close()


@pytest.fixture
def notifier() -> FakeNotifier:
    return FakeNotifier()


@pytest.fixture
def watch(db: Database, clock: FakeClock, notifier: FakeNotifier) -> Callable[..., Watched]:
    """Put a fake host under upkeep; by default its engine is idle and its disk half full."""

    def make(name: str = "web1", **options: object) -> Watched:
        host = FakeHost(name)
        host.on("docker", "info", answer=INFO)
        host.on("docker", "system", "df", answer="[]")
        host.on("df", "-P", "-k", answer=df(50))
        host.on("df", "-P", "-i", answer=df(10))
        host.on("docker", "builder", "prune", answer="Total reclaimed space: 1.5GB\n")
        settings = HostOptions(name, Address("local"), **options)
        return Watched(host, settings, Runs(db), Leases(db, clock), notifier, clock, "test/1")

    return make
