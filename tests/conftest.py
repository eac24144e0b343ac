"""What tests share: real ponds in processes of their own, and upstreams on loopback that do as they are told."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from millpond.api.site import site
from millpond.app.application import App
from millpond.app.opening import open_app
from millpond.app.sourcing import Source
from millpond.testing.asgi import Answered, AsgiClient
from millpond.testing.clock import FakeClock
from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess
from millpond.testing.upstream import FakeUpstream, ThreadedUpstream

hypothesis.settings.register_profile("patient", deadline=None)  # no machine is too busy for a property
hypothesis.settings.load_profile("patient")
MakePond = Callable[..., PondProcess]
LONG = ("fault", "client")
WHOLE_RUN_GB = 2
WHOLE = frozenset({"open_pond", "make_pond", "nursery", "db", "database", "driven", "url"})
"""Fixtures that open an application, a daemon or a database."""


def pytest_report_header() -> str:
    """Tell what a run that fails for want of room would be looked through for."""
    place = tempfile.gettempdir()
    free_gb = shutil.disk_usage(place).free / 1e9
    return f"room in {place}: {free_gb:.1f} GB; a whole run takes up to {WHOLE_RUN_GB} GB of it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, so that no worker is left with one of them when the others have ended."""
    for item in items:
        if WHOLE.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("whole")
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in LONG))
    no_constants_of_ours()


def no_constants_of_ours() -> None:
    """Have hypothesis draw no constants that it finds in the modules which happen to be loaded.

    It reads and parses all of them, in each worker: seconds before the first property of a fresh clone. And what is
    drawn would depend on which other tests a worker has, also where a test asks for the same examples each time.
    """
    providers = sys.modules.get("hypothesis.internal.conjecture.providers")
    if hasattr(providers, "_get_local_constants"):
        providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture(autouse=True)
def logs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command that a test runs in this process from logging to that test's standard error for ever."""
    monkeypatch.setattr("millpond.server.logs.configure", lambda *_: None)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What ponds are copies of; a test whose subject is the start takes `fresh` ones instead."""
    with Nursery() as made:
        yield made


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for Unix sockets: the path of one may be 104 bytes long, and `tmp_path` has most of them already."""
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        yield Path(folder)


@pytest.fixture
def make_pond(tmp_path: Path, nursery: Nursery) -> Iterator[MakePond]:
    """Make ponds; whatever still runs at the end is stopped. `fresh`: as a user starts it, in a new interpreter."""
    made: list[PondProcess] = []

    def make(config: str, *, fresh: bool = False, **options: object) -> PondProcess:
        copied = None if fresh else nursery
        pond = PondProcess(tmp_path / f"pond{len(made)}", config, nursery=copied, **options)
        made.append(pond)
        pond.start()
        return pond

    yield make
    for pond in made:
        pond.kill()


@pytest.fixture
def upstream() -> Iterator[ThreadedUpstream]:
    with ThreadedUpstream() as made:
        yield made


@pytest.fixture
def files_host() -> Iterator[ThreadedUpstream]:
    """A second server, for files that lie apart from their index."""
    with ThreadedUpstream() as made:
        yield made


@dataclass
class Inside:
    """A whole application in this process, asked through ASGI."""

    app: App
    client: AsgiClient
    clock: FakeClock

    @property
    def admin(self) -> dict[str, str]:
        """The header of who may do everything."""
        token = (self.app.data / "admin-token").read_text().strip()
        return {"authorization": f"Bearer {token}"}

    async def get(self, target: str, **headers: str) -> Answered:
        return await self.client.get(target, **headers)

    async def landed(self) -> None:
        """Wait for the flights that go on behind answers."""
        while len(self.app.flights):
            await asyncio.sleep(0.001)


OpenPond = Callable[..., Awaitable[Inside]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=2_000_000_000.0)


@pytest.fixture
async def origin(clock: FakeClock) -> AsyncIterator[FakeUpstream]:
    """An upstream in the test's own loop."""
    async with FakeUpstream(clock) as made:
        yield made


@pytest.fixture
async def open_pond(tmp_path: Path, clock: FakeClock) -> AsyncIterator[OpenPond]:
    """Open applications in this process; those on the same `folder` share its data, as workers do."""
    opened: list[Inside] = []

    async def make(
        config: str,
        *,
        folder: str = "data",
        connect: Any = None,
        notifier: Any = None,
        counterparts: Any = None,
        **client: str,
    ) -> Inside:
        path = tmp_path / f"{len(opened)}.toml"
        path.write_text(config)
        source = Source(path, {"server.data": str(tmp_path / folder)}, tmp_path)
        others = {"connect": connect, "notifier": notifier, "counterparts": counterparts}
        app = await open_app(source.load({}), source, clock=clock, **others)
        opened.append(Inside(app, AsgiClient(site(app), **client), clock))
        return opened[-1]

    yield make
    for one in opened:
        if not one.app.db._closed:  # by the test itself
            await one.app.close()
