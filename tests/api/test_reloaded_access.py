"""What a reload changes of who may read, and what it says of settings that it can't change."""

from __future__ import annotations

import asyncio

import pytest

from millpond.errors import ConfigError

CONFIG = """
[server]
host = "HOST"
[access]
anonymous = "WHO"
[repositories.one]
package = "generic"
type = "local"
"""


def configured(anonymous, host="127.0.0.1", more=""):
    return CONFIG.replace("WHO", anonymous).replace("HOST", host) + more


async def test_closing_the_pond_to_anonymous_readers_takes_effect_at_once(open_pond):
    pond = await open_pond(configured("read"))
    await pond.client.put("/api/v1/remote/one/a", b"x", **pond.admin)
    assert (await pond.get("/one/a")).status == 200
    pond.app.source.path.write_text(configured("none"))
    await pond.app.reload()
    assert [(await pond.get(path)).status for path in ("/one/a", "/config", "/health")] == [401] * 3
    assert (await pond.get("/one/a", **pond.admin)).status == 200
    pond.app.source.path.write_text(configured("read"))
    await pond.app.reload()
    assert (await pond.get("/one/a")).status == 200


async def test_a_reload_does_not_open_a_pond_that_the_network_reaches(open_pond):
    pond = await open_pond(configured("none", host="0.0.0.0"))
    pond.app.source.path.write_text(configured("read", host="0.0.0.0"))
    with pytest.raises(ConfigError, match="can be reached from the network"):
        await pond.app.reload_everywhere()
    await pond.app.reload()
    assert (await pond.get("/health")).status == 401


async def test_what_takes_a_restart_is_shown_as_it_is(open_pond, capsys):
    pond = await open_pond(configured("read"))
    pond.app.source.path.write_text(configured("read", more='[storage]\nmax_size = "1GiB"\n'))
    await pond.app.reload()
    assert (await pond.get("/config")).json()["storage"]["max_size"] is None
    assert "storage.max_size" in capsys.readouterr().out


async def test_of_two_reloads_the_later_one_holds(open_pond, monkeypatch):
    pond = await open_pond(configured("read"))
    opened, first_may_go_on = pond.app._open_repositories, asyncio.Event()

    async def slow(config):
        if config.access.anonymous == "read":
            await first_may_go_on.wait()
        await opened(config)

    monkeypatch.setattr(pond.app, "_open_repositories", slow)
    first = asyncio.create_task(pond.app.reload())
    await asyncio.sleep(0)
    pond.app.source.path.write_text(configured("none"))
    second = asyncio.create_task(pond.app.reload())
    await asyncio.sleep(0)
    first_may_go_on.set()
    await asyncio.gather(first, second)
    assert pond.app.config.access.anonymous == "none"
    assert (await pond.get("/health")).status == 401
