"""Faults over HTTP: in words, in one form, and our own ones in the log."""

from __future__ import annotations

import pytest

CONFIG = '[repositories.one]\npackage = "generic"\ntype = "local"\n'


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/api/v1/nope", 404, "openapi"),
        ("GET", "/cache/flush", 405, "GET /cache/flush"),
        ("GET", "/api/v1/usage?limit=0", 422, "limit"),
    ],
)
async def test_what_the_control_api_refuses_is_a_problem_in_words(open_pond, method, path, status, word):
    pond = await open_pond(CONFIG)
    got = await pond.client.ask(method, path, {})
    assert (got.status, got.headers["content-type"]) == (status, "application/problem+json")
    assert got.json()["status"] == status
    assert word in got.json()["detail"]
    if status == 405:
        assert got.headers["allow"] == "PUT"


async def test_a_secret_in_a_body_that_is_no_token_request_is_not_repeated(open_pond):
    pond = await open_pond(CONFIG)
    body = b'{"name": "x", "scopes": "hunter2"}'
    got = await pond.client.ask("POST", "/api/v1/tokens", {**pond.admin, "content-type": "application/json"}, body)
    assert got.status == 422
    assert b"hunter2" not in got.body


@pytest.mark.parametrize("path", ["/one/a", "/api/v1/repositories"])
async def test_a_fault_of_our_own_is_logged(open_pond, monkeypatch, capsys, path):
    pond = await open_pond(CONFIG)

    async def broken(*_):
        raise RuntimeError("the cogs are stuck")

    monkeypatch.setattr(pond.app.catalog, "find", broken)
    monkeypatch.setattr(pond.app.catalog, "totals", broken)
    with pytest.raises(RuntimeError, match="cogs"):
        await pond.get(path)
    told = capsys.readouterr().out
    assert "a fault of the pond's own" in told
    assert path in told
    assert "the cogs are stuck" in told


async def test_a_client_is_not_told_where_things_lie_on_our_disk(open_pond, origin, monkeypatch):
    pond = await open_pond(f'[repositories.files]\npackage = "generic"\nbase_url = "{origin.url}"\n')

    def broken(key):
        raise OSError(f"no lock for {key} in /secret/place")

    monkeypatch.setattr(pond.app.lock, "lead", broken)
    got = await pond.get("/files/a.bin")
    assert got.status == 500
    assert "its log tells more" in got.json()["detail"]
    assert b"secret" not in got.body
