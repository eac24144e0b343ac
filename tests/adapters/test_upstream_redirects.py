from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.artifacts.model import Reply
from millpond.clock import SystemClock
from millpond.errors import ConfigError, MillpondError, UpstreamUnreachable
from millpond.testing.behaviours import Behaviour, Drop, Hang, Raw, redirect, reset, status, truncate
from millpond.testing.resolver import FakeResolver
from millpond.testing.upstream import FakeUpstream

BODY = b"x" * 100_000


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/f", BODY)
        yield upstream


@pytest.fixture
async def other() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/g", BODY)
        yield upstream


@pytest.fixture
async def upstream(server: FakeUpstream, other: FakeUpstream) -> AsyncIterator[HttpUpstream]:
    made = make(server, trusted_origins=(other.url,), username="u", password="pw", max_redirects=3)
    yield made
    await made.close()


def make(server: FakeUpstream, **options: Any) -> HttpUpstream:
    values = {"name": "r", "base_url": server.url, "read_timeout_s": 5.0, **options}
    return HttpUpstream(UpstreamOptions(**values), SystemClock(), resolver=FakeResolver())


async def get(
    upstream: HttpUpstream, path: str = "a", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[Reply, bytes]:
    async with upstream.request(method, upstream.base_url + path, headers or {}) as reply:
        return reply.head, b"".join([chunk async for chunk in reply.chunks(65536)])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(server: FakeUpstream, upstream: HttpUpstream, code: int) -> None:
    server.script("/d/a", redirect("../f?sig=a%2Fb", code))
    head, body = await get(upstream, "d/a")
    assert (head.status, head.url, body) == (200, f"{server.url}/f?sig=a%2Fb", BODY)
    assert server.requests[1].target == "/f?sig=a%2Fb"


async def test_head_stays_head(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/a", redirect("/f", 303))
    head, _ = await get(upstream, method="HEAD")
    assert head.length == len(BODY)
    assert server.count("/f", "HEAD") == 1


async def test_what_is_not_safe_is_not_sent_elsewhere(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/a", redirect("/f", 307))
    assert (await get(upstream, method="PUT"))[0].status == 307


async def test_a_redirect_without_a_target_is_an_answer(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/a", status(302))
    assert (await get(upstream))[0].status == 302


async def test_so_many_redirects_and_no_more(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/a", redirect("/b"))
    server.always("/b", redirect("/c"))
    server.always("/c", redirect("/f"))
    assert (await get(upstream))[1] == BODY
    server.script("/a", redirect("/a1"))
    server.script("/a1", redirect("/b"))
    with pytest.raises(UpstreamUnreachable, match="more than 3 times") as caught:
        await get(upstream)
    assert caught.value.kind == "redirect"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/a", "circle"),
        ("/b", "circle"),
        ("http://u:canary@{host}/f", "user name"),
        ("ftp://{host}/f", "http"),
        ("http://[/f", "can't be read|no URL"),
        ("http://{host}\\@evil.example/", "backslash"),
        ("http://2130706433/", "number"),
    ],
)
async def test_redirects_that_lead_astray_are_refused(
    server: FakeUpstream, upstream: HttpUpstream, target: str, why: str
) -> None:
    server.script("/a", redirect("/b"))
    server.script("/b", redirect(target.format(host=f"127.0.0.1:{server.port}")))
    with pytest.raises(UpstreamUnreachable, match=why) as caught:
        await get(upstream)
    assert caught.value.kind == "redirect"
    assert "canary" not in str(caught.value)
    assert (len(server.requests), upstream.status()["state"]) == (2, "closed")


async def test_credentials_stay_with_their_origin(
    server: FakeUpstream, other: FakeUpstream, upstream: HttpUpstream
) -> None:
    server.script("/a", redirect(f"{other.url}/g"))
    secrets = {"Cookie": "c=d", "X-Api-Key": "k", "Private-Token": "t", "Accept": "text/x", "Range": "bytes=1-3"}
    head, body = await get(upstream, headers=secrets)
    assert (head.status, body) == (206, b"xxx")
    home, away = server.requests[0].headers, other.requests[0].headers
    assert home["authorization"] == "Basic dTpwdw=="
    assert home["x-api-key"] == "k"
    assert set(away) == {"host", "accept", "accept-encoding", "range", "user-agent"}


async def test_a_redirect_within_the_origin_keeps_them(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/a", redirect("/f"))
    await get(upstream)
    assert server.requests[1].headers["authorization"] == "Basic dTpwdw=="


async def test_who_was_sent_away_and_back_has_none_any_more(
    server: FakeUpstream, other: FakeUpstream, upstream: HttpUpstream
) -> None:
    server.script("/a", redirect(f"{other.url}/back"))
    other.script("/back", redirect(f"{server.url}/f"))
    assert (await get(upstream))[0].status == 200
    assert "authorization" not in server.requests[1].headers


async def test_another_origins_file_gets_none(other: FakeUpstream, upstream: HttpUpstream) -> None:
    async with upstream.request("GET", f"{other.url}/g", {"Authorization": "Bearer mine"}) as reply:
        assert reply.head.status == 200
    assert "authorization" not in other.requests[0].headers


CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    "behaviour",
    [
        Drop(), Hang(), Hang(10), truncate(10), reset(10), status(500), status(401), status(429, retry_after="5"),
        Raw(b"no http " + CANARY.encode() + b"\r\n\r\n"), redirect(f"http://x:{CANARY}@evil.example/"),
        redirect(f"http://[{CANARY}/"), redirect(f"http://127.0.0.1:1/?sig={CANARY}"), redirect(f"/f?sig={CANARY}"),
        redirect(f"https://gone.example/{CANARY}?sig={CANARY}"), redirect(f"ftp://{CANARY}/"),
    ],
)  # fmt: skip
async def test_no_secret_is_in_any_text(
    server: FakeUpstream, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    base = server.url.replace("://", f"://{CANARY}:{CANARY}@")
    options = UpstreamOptions("r", base, read_timeout_s=0.05, circuit_failures=2)
    upstream = HttpUpstream(options, SystemClock(), resolver=FakeResolver())
    server.always("/a", behaviour)
    server.always("/f", truncate(10))
    texts = [repr(options), repr(upstream), upstream.base_url]
    for _ in range(3):
        try:
            async with upstream.request("GET", f"{server.url}/a?sig={CANARY}", {"X": CANARY}) as reply:
                texts += [str(chunk[:0]) async for chunk in reply.chunks(1000)]
        except UpstreamUnreachable as error:
            texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
        texts.append(str(upstream.status()))
    await upstream.close()
    assert any("Basic" in request.headers["authorization"] for request in server.requests)
    assert CANARY not in "".join(texts)
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": f"ftp://u:{CANARY}@h.example/"},
        {"base_url": f"https://u:{CANARY}@0/"},
        {"base_url": "https://h.example/", "trusted_origins": (f"http://{CANARY}@lan/",)},
        {"base_url": "https://h.example/", "password": f"{CANARY}\r\nX: y"},
        {"base_url": "https://h.example/", "password": f"{CANARY}\u20ac"},
    ],
)
def test_a_configuration_that_can_not_be_used_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="repository r") as caught:
        HttpUpstream(UpstreamOptions(name="r", **options), SystemClock())
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value, MillpondError)


async def test_a_url_that_is_none_is_not_asked(upstream: HttpUpstream) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        async with upstream.request("GET", f"http://x:{CANARY}@h.example/", {}):
            pass
    assert (caught.value.kind, CANARY in str(caught.value)) == ("blocked", False)
