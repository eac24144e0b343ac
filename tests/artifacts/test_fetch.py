"""The leader's part of a flight: what is asked, what is refused, what is stored."""

from __future__ import annotations

import hashlib

import pytest

from millpond.artifacts.landing import public
from millpond.errors import OutOfSpace
from millpond.testing.behaviours import Chunked, CloseDelimited, NeedsBasic, Raw, Slow, WrongBytes, redirect

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL/base"
check_mutable_updates = true
username = "robot"
password = "canary"
[repositories.pinned]
package = "generic"
base_url = "URL/base"
digests = { "a.zip" = "DIGEST" }
"""
BODY = b"PK" + bytes(range(256)) * 300
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/base/a.zip", BODY)
    return await open_pond(CONFIG.replace("URL", origin.url).replace("DIGEST", DIGEST))


async def test_the_upstream_is_asked_for_the_plain_bytes_and_gets_no_header_of_the_client(pond, origin):
    await pond.get("/files/a.zip", cookie="c=1", user_agent="client/1", x_custom="1", accept="text/html")
    asked = origin.requests[0].headers
    assert asked["accept-encoding"] == "identity"
    assert asked["accept"] == "*/*"
    assert asked["user-agent"].startswith("millpond/")
    assert not {"cookie", "x-custom"} & set(asked)


async def test_credentials_go_to_the_upstream_and_never_to_the_client(pond, origin):
    origin.always("/base/a.zip", NeedsBasic("robot", "canary"))
    got = await pond.get("/files/a.zip")
    assert got.body == BODY
    assert "canary" not in str(got.headers)
    entry = await pond.app.catalog.find("files", "a.zip", "")
    assert entry is not None
    assert entry.source_url == f"{origin.url}/base/a.zip"


async def test_an_encoding_that_came_all_the_same_is_stored_and_served_as_it_is(pond, origin):
    origin.put("/base/a.zip", BODY, headers={"content-encoding": "gzip"})
    for _ in range(2):
        got = await pond.get("/files/a.zip")
        assert (got.body, got.headers["content-encoding"]) == (BODY, "gzip")


@pytest.mark.parametrize("framing", [Chunked(100), Chunked(70_000), CloseDelimited(), Slow(bytes_per_s=2_000_000)])
async def test_however_a_body_is_framed_it_is_stored_whole(pond, origin, framing):
    origin.script("/base/a.zip", framing)
    assert (await pond.get("/files/a.zip")).body == BODY
    entry = await pond.app.catalog.find("files", "a.zip", "")
    assert entry is not None
    assert (entry.digest, entry.size) == (DIGEST, len(BODY))
    assert pond.app.store.path(DIGEST).read_bytes() == BODY


async def test_an_empty_file_is_a_file(pond, origin):
    origin.put("/base/empty", b"")
    for source in ("remote", "cache"):
        got = await pond.get("/files/empty")
        assert (got.status, got.body, got.headers["x-artifact-source"]) == (200, b"", source)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><html>please log in</html>", "text/html"),
        (b"  \n<HTML>please log in", "application/octet-stream"),
    ],
)
async def test_a_body_that_cant_be_it_is_refused_before_its_first_byte(pond, origin, body, kind):
    origin.put("/base/a.zip", body, headers={"content-type": kind})
    got = await pond.get("/files/a.zip")
    assert got.status == 502
    assert "the upstream's body is not a.zip" in got.json()["detail"]
    assert await pond.app.catalog.find("files", "a.zip", "") is None
    assert pond.app.metrics.values()['millpond_upstream_errors_total{kind="unsound",repository="files"}'] == 1


async def test_a_pinned_digest_is_kept_to(pond, origin):
    origin.script("/base/a.zip", WrongBytes())
    got = await pond.get("/pinned/a.zip")
    assert got.status == 502 or not got.complete
    await pond.landed()
    assert (await pond.get("/pinned/a.zip")).body == BODY
    pond.clock.advance(10**8)
    assert (await pond.get("/pinned/a.zip")).headers["cache-status"] == "millpond; hit"
    assert len(origin.requests) == 2


async def test_a_redirect_is_followed_inside(pond, origin):
    origin.put("/elsewhere", BODY)
    origin.always("/base/a.zip", redirect("/elsewhere?signature=canary"))
    got = await pond.get("/files/a.zip")
    assert (got.status, got.body) == (200, BODY)
    entry = await pond.app.catalog.find("files", "a.zip", "")
    assert entry is not None
    assert entry.source_url == f"{origin.url}/elsewhere", "a signature is not stored"


async def test_a_304_that_nobody_asked_for_is_no_answer(pond, origin):
    origin.script("/base/a.zip", Raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
    assert (await pond.get("/files/a.zip")).status == 502
    assert (await pond.get("/files/a.zip")).body == BODY


@pytest.mark.parametrize("code", [206, 204, 300, 400, 418])
async def test_a_status_that_does_not_belong_here_is_never_stored(pond, origin, code):
    origin.put("/base/a.zip", b"PK odd", status=code)
    assert (await pond.get("/files/a.zip")).status == 502
    assert await pond.app.catalog.find("files", "a.zip", "") is None


async def test_what_cant_be_stored_is_delivered_all_the_same(pond, monkeypatch):
    async def full(*_, **__):
        raise OutOfSpace("the disk is full")

    monkeypatch.setattr(pond.app.catalog, "publish", full)
    for _ in range(2):
        got = await pond.get("/files/a.zip")
        assert (got.complete, got.body) == (True, BODY)
    assert list((pond.app.data / "spool").iterdir()) == []


async def test_a_changed_file_replaces_the_copy_only_when_it_is_whole(pond, origin):
    await pond.get("/files/a.zip")
    pond.clock.advance(601)
    new = b"PK" + b"n" * 200_000
    origin.put("/base/a.zip", new)
    gate = origin.hold("/base/a.zip", after_bytes=100_000)
    flight, _ = pond.app.repositories["files"].join(pond.app.repositories["files"].resolve("a.zip", "", ""), "")
    await gate.reached()
    entry = await pond.app.catalog.find("files", "a.zip", "")
    assert entry is not None
    assert entry.digest == DIGEST
    assert pond.app.store.path(DIGEST).exists()
    gate.release()
    await flight.ended()
    flight.release()
    assert (await pond.get("/files/a.zip")).body == new


def test_a_url_is_stored_without_what_is_secret_in_it():
    assert public("https://user:pass@host:8443/a/b?sig=1#x") == "https://host:8443/a/b"
    assert public("http://[::1]:80/a") == "http://[::1]:80/a"
