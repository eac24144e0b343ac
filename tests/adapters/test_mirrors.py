"""A list of mirrors as an upstream: who is asked, how long, and what comes after a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from millpond.adapters.mirrors import LIST_S, MOST_ASKED, PENALTY_S, RETRY_S, MirrorUpstream
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.artifacts.formats.rpm.lists import MirrorReader
from millpond.errors import UpstreamUnreachable
from millpond.testing.behaviours import reset, status, truncate
from millpond.testing.clock import FakeClock
from millpond.testing.resolver import FakeResolver
from millpond.testing.upstream import FakeUpstream

LIST = "/metalink"
HEAD, FILE = "repodata/repomd.xml", "Packages/a.rpm"


@pytest.fixture
async def servers() -> AsyncIterator[list[FakeUpstream]]:
    """The list's own, and three mirrors."""
    made = [FakeUpstream() for _ in range(4)]
    for number, one in enumerate(made):
        await one.start()
        for path in (HEAD, FILE):
            one.put(f"/os/{path}", b"%d" % number)
    yield made
    for one in made:
        await one.close()


@pytest.fixture
async def make(servers: list[FakeUpstream], clock: FakeClock):
    made: list[MirrorUpstream] = []

    def build(*mirrors: str, trusted: bool = True, **options: Any) -> MirrorUpstream:
        urls = mirrors or [f"{one.url}/os/" for one in servers[1:]]
        servers[0].put(LIST, "".join(f"{url}\n" for url in urls).encode())
        origins = tuple(one.url for one in servers[1:]) if trusted else ()
        values = {"name": "r", "base_url": servers[0].url, "trusted_origins": origins, "read_timeout_s": 5.0, **options}
        inner = HttpUpstream(UpstreamOptions(**values), clock, resolver=FakeResolver())
        own = frozenset({"metalink"})
        made.append(MirrorUpstream(inner, f"{servers[0].url}{LIST}?repo=x", clock, MirrorReader, own))
        return made[-1]

    yield build
    for one in made:
        await one.close()


async def get(upstream: MirrorUpstream, path: str = FILE) -> tuple[int, bytes]:
    async with upstream.request("GET", upstream.base_url + path, {"Accept": "*/*"}) as reply:
        return reply.head.status, b"".join([chunk async for chunk in reply.chunks(65536)])


async def test_the_first_of_the_list_is_kept_to(make, servers):
    upstream = make()
    for path in (HEAD, FILE, FILE):
        assert await get(upstream, path) == (200, b"1")
    assert servers[0].count(LIST) == 1
    assert servers[2].requests == servers[3].requests == []
    assert upstream.status()["mirror"] == f"{servers[1].url}/os/"
    assert upstream.status()["mirrors"] == 3


async def test_the_list_itself_is_to_be_had(make, servers):
    upstream = make()
    code, body = await get(upstream, "metalink")
    assert (code, body.count(b"\n")) == (200, 3)
    assert servers[0].requests[-1].target == f"{LIST}?repo=x"


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), status(403)])
async def test_one_that_fails_is_left_and_the_next_is_kept_to(make, servers, fault, clock):
    upstream = make()
    await get(upstream)
    servers[1].always("*", fault)
    assert await get(upstream) == (200, b"2")
    servers[1].always("*", None)
    assert await get(upstream, HEAD) == (200, b"2"), "of one generation, whoever is well again"
    clock.advance(PENALTY_S * 2)
    assert await get(upstream, HEAD) == (200, b"2")


async def test_one_that_is_down_is_left(make, servers):
    upstream = make()
    await servers[1].cut()
    assert await get(upstream, HEAD) == (200, b"2")


async def test_a_body_that_breaks_off_is_told_and_the_next_one_is_asked_then(make, servers):
    upstream = make()
    servers[1].put(f"/os/{FILE}", b"x" * 10_000)
    servers[1].always("*", truncate(5000))
    with pytest.raises(UpstreamUnreachable):
        await get(upstream)
    assert await get(upstream) == (200, b"2")


async def test_bytes_that_are_not_the_promised_ones_are_the_mirror_s_fault(make, servers):
    upstream = make()
    with pytest.raises(UpstreamUnreachable, match="not what"):
        async with upstream.request("GET", upstream.base_url + FILE, {}):
            raise UpstreamUnreachable("not what was promised", kind="mismatch")
    assert await get(upstream) == (200, b"2")


async def test_what_one_does_not_have_is_looked_for_elsewhere(make, servers):
    upstream = make()
    servers[1].remove(f"/os/{FILE}")
    assert await get(upstream) == (200, b"2")
    assert await get(upstream, HEAD) == (200, b"1"), "it is kept to"
    for one in servers[2:]:
        one.remove(f"/os/{FILE}")
    assert (await get(upstream))[0] == 404


@pytest.mark.parametrize("path", [HEAD, f"{HEAD}.asc"])
async def test_the_entry_file_and_its_signature_are_never_of_two_mirrors(make, servers, path):
    upstream = make()
    servers[1].remove(f"/os/{path}")
    assert (await get(upstream, path))[0] == 404
    assert servers[2].requests == []


async def test_when_all_fail_the_last_one_s_word_counts(make, servers):
    upstream = make()
    for one in servers[1:]:
        one.always("*", status(500))
    assert (await get(upstream))[0] == 500
    for one in servers[1:]:
        await one.cut()
    with pytest.raises(UpstreamUnreachable):
        await get(upstream)


async def test_not_more_than_a_few_are_asked(make, servers):
    upstream = make(*(f"{servers[1].url}/nowhere{number}/" for number in range(20)))
    servers[1].always("*", status(500))
    await get(upstream)
    assert len(servers[1].requests) == MOST_ASKED


async def test_the_list_is_asked_for_again_and_the_old_one_goes_on(make, servers, clock):
    upstream = make()
    await get(upstream)
    await servers[0].cut()
    clock.advance(LIST_S + 1)
    assert await get(upstream) == (200, b"1")
    await servers[0].restore()
    servers[0].put(LIST, f"{servers[3].url}/os/\n".encode())
    assert await get(upstream) == (200, b"1")
    clock.advance(max(RETRY_S, 60.0) + 600)
    assert await get(upstream) == (200, b"3"), "the one that was kept to is gone from the list"


@pytest.mark.parametrize("fault", [status(500), status(404), reset(0)])
async def test_without_a_list_nobody_is_asked(make, servers, fault):
    upstream = make()
    servers[0].always("*", fault)
    with pytest.raises(UpstreamUnreachable):
        await get(upstream)
    servers[0].always("*", None)
    assert (await get(upstream))[0] == 200


@pytest.mark.parametrize("body", [b"", b"<html>please log in</html>", b"nothing"])
async def test_a_list_that_is_none_is_told(make, servers, body):
    upstream = make()
    servers[0].put(LIST, body)
    with pytest.raises(UpstreamUnreachable, match="list of mirrors can't be read"):
        await get(upstream)


async def test_a_list_leads_to_no_private_address(make, servers):
    upstream = make(trusted=False)
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream)
    assert caught.value.kind == "blocked"
    assert all(one.requests == [] for one in servers[1:])


async def test_credentials_stay_with_the_list(make, servers):
    upstream = make(username="me", password="canary")
    await get(upstream)
    assert "authorization" in servers[0].requests[0].headers
    assert "authorization" not in servers[1].requests[0].headers
    assert "canary" not in repr(upstream) + str(upstream.status())
