"""What can't be written down, or passed on to other workers, is answered all the same."""

from __future__ import annotations

from millpond.errors import OutOfSpace
from millpond.testing import behaviours

CONFIG = (
    '[repositories.files]\npackage = "generic"\nbase_url = "URL"\nmutable_ttl_s = 0\ncheck_mutable_updates = true\n'
)


async def full(_entry):
    raise OutOfSpace("the disk is full")


async def test_a_full_catalog_does_not_turn_an_answer_into_a_fault(open_pond, origin, monkeypatch):
    pond = await open_pond(CONFIG.replace("URL", origin.url))
    origin.put("/here.txt", b"hello")
    assert (await pond.get("/files/here.txt")).status == 200
    monkeypatch.setattr(pond.app.catalog, "update", full)
    assert (await pond.get("/files/nope.txt")).status == 404
    unchanged = await pond.get("/files/here.txt")
    assert (unchanged.status, unchanged.body) == (200, b"hello")
    origin.always("*", behaviours.status(500))
    stale = await pond.get("/files/here.txt")
    assert (stale.status, stale.body) == (200, b"hello")


async def test_a_head_too_large_to_pass_on_is_no_fault(open_pond, origin):
    pond = await open_pond(CONFIG.replace("URL", origin.url))
    origin.put("/odd.bin", bytes(1000), headers={"etag": '"' + "\u00e9" * 4000 + '"'})
    got = await pond.get("/files/odd.bin")
    assert (got.status, got.body) == (200, bytes(1000))
