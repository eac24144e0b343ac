"""An application in the test's own process, asked without sockets and on a clock that the test moves.

Everything but the HTTP server is the real one: catalog, store, spool, and connections to the upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from tests.faults.traffic import Seen

from millpond.api.site import site
from millpond.app.application import App
from millpond.app.opening import open_app
from millpond.app.sourcing import Source
from millpond.artifacts.model import Entry
from millpond.testing.clock import FakeClock


class Inside:
    """An open application and its clock."""

    def __init__(self, app: App, clock: FakeClock) -> None:
        self.app, self.clock = app, clock
        self._site = site(app)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Seen:
        """Ask for a path. An answer whose last piece never came is not whole."""
        pairs = {"host": "pond.test", **(headers or {})}
        scope = {
            "type": "http", "method": "GET", "scheme": "http", "http_version": "1.1", "query_string": b"",
            "path": unquote(path), "raw_path": path.encode(), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        }  # fmt: skip
        told = iter([{"type": "http.request", "body": b"", "more_body": False}])
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            for message in told:
                return message
            return await asyncio.get_running_loop().create_future()  # a client that stays

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await self._site(scope, receive, send)
        head, *pieces = sent
        body = b"".join(piece["body"] for piece in pieces)
        answered = {key.decode(): value.decode("latin-1") for key, value in head["headers"]}
        return Seen(head["status"], answered, body, whole=not pieces[-1]["more_body"] if pieces else False)

    async def stored(self, repository: str) -> dict[str, Entry]:
        """What the catalog has of a repository, by path (and variant)."""
        found = await self.app.catalog.entries(repository)
        return {one.path + (f"#{one.variant}" if one.variant else ""): one for one in found}

    def blobs(self) -> set[str]:
        """The digests of the stored files."""
        return set(self.app.store.walk())

    def spooled(self) -> list[str]:
        """What lies in the spool folder."""
        return sorted(path.name for path in self.app.flights.spool.iterdir())

    async def landed(self) -> None:
        """Wait until no flight is under way."""
        async with asyncio.timeout(60):
            while len(self.app.flights):
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(folder: Path, config: str) -> AsyncIterator[Inside]:
    """Open an application with its data in a folder; close it at the end."""
    file = folder / "millpond.toml"
    file.write_text(config)
    source = Source(file, {"server.data": str(folder / "data")}, folder)
    clock = FakeClock()
    app = await open_app(source.load({}), source, clock=clock)
    try:
        yield Inside(app, clock)
    finally:
        await app.close()
