"""One client, one generation: what an upstream, its headers, a full disk or another client may not bring about."""

from __future__ import annotations

import dataclasses
import hashlib
import lzma

import pytest
from tests import repodata
from tests.archives import Archive, Deb, config

from millpond.testing.behaviours import status

TTL_S = 60
OLD, NEW = Deb(payload=b"old" * 100), Deb(payload=b"new" * 101)
HEAD, AMD64, ARM64 = (
    "dists/stable/InRelease",
    "dists/stable/main/binary-amd64/Packages.xz",
    "dists/stable/main/binary-arm64/Packages.xz",
)
NO_TTL = "mutable_ttl_s"


class Saying(Archive):
    """An archive whose entry files come with a Cache-Control of their own."""

    said = ""

    def _put(self, path: str, body: bytes) -> None:
        headers = {"content-type": "application/octet-stream"}
        if path.endswith("InRelease"):
            headers["cache-control"] = self.said
        self.server.put(
            f"/{self.place}/{path}", body, headers=headers, modified_at=1_577_836_800 + 60 * self.generation
        )


class TwoArchitectures(Archive):
    """An archive whose packages are listed for two architectures."""

    def _members(self) -> dict[str, bytes]:
        amd64 = self.packages()
        arm64 = amd64 + b"\n"
        return {
            "main/binary-amd64/Packages.xz": lzma.compress(amd64),
            "main/binary-arm64/Packages.xz": lzma.compress(arm64),
        }


def without_ttl(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(NO_TTL))


async def get(pond, path):
    return await pond.get(f"/debian/{path}")


@pytest.mark.parametrize("said", ["no-store", "max-age=60, stale-while-revalidate=86400"])
async def test_whatever_an_entry_file_says_of_caching_its_members_go_with_it(open_pond, origin, said):
    archive = Saying(origin, by_hash=False)
    archive.said = said
    archive.publish(OLD)
    pond = await open_pond(without_ttl(config(archive, ttl_s=TTL_S)))
    for path in (HEAD, AMD64):
        await get(pond, path)
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    head = await get(pond, HEAD)
    await pond.landed()
    member = await get(pond, AMD64)
    assert member.status == 200
    assert hashlib.sha256(member.body).hexdigest() in head.body.decode()


async def test_an_entry_file_that_can_not_be_kept_is_not_given_beside_what_is(open_pond, origin, monkeypatch):
    archive = Archive(origin, by_hash=False)
    archive.publish(OLD)
    pond = await open_pond(config(archive, ttl_s=TTL_S))
    old = [(await get(pond, path)).body for path in (HEAD, AMD64)]
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    repository = pond.app.repositories["debian"]
    full = dataclasses.replace(repository._pond, room_bytes=lambda: 0)
    for part in (repository, repository._fetcher):
        monkeypatch.setattr(part, "_pond", full)
    head = await get(pond, HEAD)
    assert "no room" in head.headers["cache-status"]
    assert [head.body, (await get(pond, AMD64)).body] == old


async def test_an_index_that_nobody_renews_vouches_for_nothing_against_one_that_stands(open_pond, origin):
    archive = TwoArchitectures(origin)
    archive.publish(OLD)
    pond = await open_pond(config(archive, ttl_s=TTL_S))
    for path in (HEAD, ARM64, AMD64, archive.pool(OLD)):
        await get(pond, path)
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    for path in (HEAD, AMD64):
        await get(pond, path)
    assert (await get(pond, archive.pool(NEW))).body == NEW.body


async def test_a_package_is_had_though_no_client_asks_for_its_index_any_more(open_pond, origin):
    """apt patches the index that it has; the pond has the earlier one only, and renews it by itself."""
    archive = Archive(origin)
    archive.publish(OLD)
    pond = await open_pond(config(archive, ttl_s=TTL_S))
    for path in (HEAD, AMD64):
        await get(pond, path)
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    await get(pond, HEAD)
    got = await get(pond, archive.pool(NEW))
    assert (got.status, got.body) == (200, NEW.body)
    assert "unchecked" not in got.headers["cache-status"]


async def test_a_member_that_lands_while_its_entry_file_is_published_is_judged_again(open_pond, origin, monkeypatch):
    archive = Archive(origin)
    archive.publish(OLD)
    pond = await open_pond(config(archive, ttl_s=TTL_S))
    await get(pond, HEAD)
    old = archive.members["main/binary-amd64/Packages.xz"]
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    catalog, publish, between = pond.app.catalog, pond.app.catalog.publish, list[bytes]()

    async def late(entry, *rest, **options):
        if entry.path == HEAD and not between:
            between.append(b"")
            between.extend([(await get(pond, AMD64)).body for _ in range(2)])
        return await publish(entry, *rest, **options)

    monkeypatch.setattr(catalog, "publish", late)
    await get(pond, HEAD)
    assert between == [b"", old, old]
    hits, now = pond.app.hits, pond.clock.now()
    assert [key for key in list(hits._hits) if b"Packages" in key[0] and hits.find(*key, now) is not None] == []


async def test_a_bucket_that_hides_what_it_has_not_has_no_signature(open_pond, origin):
    repository = repodata.Repository(origin)
    repository.publish(repodata.Rpm())
    pond = await open_pond(repodata.config(repository, ttl_s=TTL_S))
    name = next(iter(pond.app.repositories))
    origin.always("/repo/repodata/repomd.xml.asc", status(403))
    assert (await pond.get(f"/{name}/repodata/repomd.xml")).status == 200
    assert (await pond.get(f"/{name}/repodata/repomd.xml.asc")).status == 404
