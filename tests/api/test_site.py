"""The whole surface of one application: what a reload changes, and what an unknown path gives."""

from __future__ import annotations

import pytest

ONE = '[repositories.one]\npackage = "generic"\ntype = "local"\n'
TWO = '[repositories.two]\npackage = "generic"\ntype = "local"\n'


async def test_a_reload_takes_effect_at_the_next_request(open_pond):
    pond = await open_pond(ONE)
    await pond.client.put("/api/v1/remote/one/a", b"x", **pond.admin)
    pond.app.source.path.write_text(ONE + TWO)
    assert (await pond.client.ask("POST", "/api/v1/reload", pond.admin)).json() == {"reloaded": True}
    assert (await pond.get("/")).json()["remotes"] == ["one", "two"]
    assert (await pond.client.put("/api/v1/remote/two/a", b"x", **pond.admin)).status == 201
    pond.app.source.path.write_text(TWO)
    await pond.client.ask("POST", "/api/v1/reload", pond.admin)
    assert (await pond.get("/one/a")).status == 404
    assert (await pond.get("/two/a")).status == 200


async def test_a_mistake_in_the_new_configuration_changes_nothing_and_is_told(open_pond):
    pond = await open_pond(ONE)
    pond.app.source.path.write_text(ONE.replace("package", "pakage"))
    got = await pond.client.ask("POST", "/api/v1/reload", pond.admin)
    assert got.status == 409
    assert "pakage" in got.json()["detail"]
    assert (await pond.get("/")).json()["remotes"] == ["one"]


@pytest.mark.parametrize(
    "path", ["/api/v1/nope", "/api", "/ui/nope", "/docs", "/webhook", "/favicon.ico", "/.well-known/x"]
)
async def test_reserved_places_are_never_a_repository(open_pond, path):
    pond = await open_pond(ONE)
    assert (await pond.get(path)).status == 404
