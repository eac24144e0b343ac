"""Files of a repository on a Gitea, such as the pipeline that it brings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from millpond.adapters.gitea import GiteaOptions
from millpond.adapters.giteafiles import GiteaFiles
from millpond.delivery.model import Project
from millpond.delivery.ports import ForgeFailed
from millpond.testing.clock import FakeClock
from millpond.testing.giteaserver import TOKEN, Fails, GiteaServer

SHOP = Project("shop", "p1", "team/shop", "SH")
FILE = ".millpond/pipeline.toml"
LIMIT = 100


@pytest_asyncio.fixture
async def server() -> AsyncIterator[GiteaServer]:
    async with GiteaServer() as server:
        server.repo(SHOP.repo)
        yield server


@pytest_asyncio.fixture
async def files(server: GiteaServer) -> AsyncIterator[GiteaFiles]:
    files = GiteaFiles(GiteaOptions(server.url, TOKEN), FakeClock())
    yield files
    await files.close()


def push(server: GiteaServer, **files: str) -> None:
    repo = server.repos[SHOP.repo]
    repo.branches["main"] = repo.commit((repo.branches["main"],), {FILE: "stages", "large": "x" * 101, **files})


async def test_a_file_of_a_branch(server: GiteaServer, files: GiteaFiles):
    push(server, full="x" * 100)
    assert await files.read(SHOP, "main", FILE, LIMIT) == b"stages"
    assert await files.read(SHOP, "main", "full", LIMIT) == b"x" * 100
    assert await files.read(SHOP, "main", "none", LIMIT) is None
    assert await files.read(SHOP, "main", ".millpond", LIMIT) is None, "a folder"
    with pytest.raises(ForgeFailed, match="large in team/shop is larger than 100 bytes") as caught:
        await files.read(SHOP, "main", "large", LIMIT)
    assert caught.value.permanent


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
async def test_an_outage_is_no_absence(server: GiteaServer, files: GiteaFiles, how: Fails):
    """Without the file the default pipeline would hold."""
    push(server)
    server.fail(how, 2)
    with pytest.raises(ForgeFailed) as caught:
        await files.read(SHOP, "main", FILE, LIMIT)
    assert not caught.value.permanent
    server.faults.clear()
    assert await files.read(SHOP, "main", FILE, LIMIT) == b"stages"


@pytest.mark.parametrize(
    "told",
    [
        {"status": 404},
        {"status": 404, "body": b"null"},
        {"status": 404, "body": b'"no"'},
        {"status": 400, "text": "no"},
    ],
)
async def test_who_says_no_without_an_object_is_not_gitea(server: GiteaServer, files: GiteaFiles, told: dict[str, Any]):
    async def answer(*_: object) -> web.Response:
        return web.Response(**told)

    server.answered = answer  # type: ignore[method-assign]
    with pytest.raises(ForgeFailed, match="with no JSON") as caught:
        await files.read(SHOP, "main", FILE, LIMIT)
    assert not caught.value.permanent


async def test_a_file_that_gitea_does_not_show_is_not_an_empty_one(server: GiteaServer, files: GiteaFiles):
    async def answer(*_: object) -> web.Response:
        return web.json_response({"type": "file", "size": 9 << 20, "content": None})

    server.answered = answer  # type: ignore[method-assign]
    with pytest.raises(ForgeFailed, match="larger than"):
        await files.read(SHOP, "main", FILE, LIMIT)
