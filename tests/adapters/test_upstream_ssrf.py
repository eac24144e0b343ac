"""Every way we know of to talk a cache into its own network, each as an off-host URL and as a redirect."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from millpond.adapters import dialling
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.clock import SystemClock
from millpond.errors import UpstreamUnreachable
from millpond.testing.behaviours import redirect
from millpond.testing.resolver import FakeResolver
from millpond.testing.upstream import FakeUpstream

REFUSED = {"blocked", "redirect"}
NAMES: Mapping[str, Sequence[str]] = {
    "localhost": ["127.0.0.1"], "x.localhost": ["127.0.0.1"], "localhost.localdomain": ["127.0.0.1"],
    "evil.example": ["127.0.0.1"], "evil2.example": ["127.0.0.2"], "v6.example": ["::1"], "both.example": ["::1",
    "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"], "many.example": ["10.0.0.1", "192.168.0.1", "127.0.0.1"],
    "metadata.example": ["169.254.169.254"], "zero.example": ["0.0.0.0"], "zero6.example": ["::"],
    "nat64.example": ["64:ff9b::7f00:1"], "sixtofour.example": ["2002:7f00:1::"], "compatible.example": ["::127.0.0.1"],
    "cgnat.example": ["100.64.0.1"], "lan.example": ["10.0.0.1"], "unique.example": ["fd00::1"],
    "link.example": ["fe80::1"],
    "multicast.example": ["224.0.0.1"], "broadcast.example": ["255.255.255.255"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "xn--nxasmq6b.example": ["127.0.0.1"], "under_score.example": ["127.0.0.1"], "public.example": ["127.0.0.1"],
}  # fmt: skip
HOSTS = [
    # IPv4, as it should be and as old parsers read it
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "2130706433", "0x7f000001", "0X7F000001", "017700000001", "0x7f.0.0.1", "0177.0.0.1", "0x7f.1", "127.1", "127.0.1",
    "127.0.0.01", "127.0.0.1.", "127.0.0.1..", "00127.0.0.1", "0", "0x0", "1", "4294967295", "127.0.0.0x1",
    "256.256.256.256",
    # IPv6, and IPv4 within it
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]",
    "[2a00:1450::5efe:127.0.0.1]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]",
    "[ff02::1]",
    "[::1", "::1", "[::1]x", "[127.0.0.1]",
    # names
    *NAMES, "LOCALHOST", "localhost.", "localhost..", "evil.example.", "EVIL.Example", ".localhost", "evil..example",
    # IDNA, full-width digits and dots, percent-encoding
    "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "\u24db\u24de\u24d2alhost",
    "\uff4cocalhost", "l\u00f6calhost.example", "%31%32%37.0.0.1", "127.0.0.1%2f", "127.0.0.1%00", "local%68ost",
    # user information and other separators
    "user@127.0.0.1", "user:word@127.0.0.1", "public.example@127.0.0.1", "@127.0.0.1", "public.example:80@127.0.0.1",
    "public.example#@127.0.0.1", "public.example?@127.0.0.1", "public.example\\@127.0.0.1",
    "127.0.0.1\\.public.example",
    "127.0.0.1;public.example", "127.0.0.1,public.example", "127.0.0.1 public.example",
]  # fmt: skip
URLS = [
    "http://127.0.0.1:0/", "http://127.0.0.1:00000{port}/", "http://127.0.0.1:+{port}/", "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1:99999/", "https://127.0.0.1:{port}/", "https://evil.example:{port}/", "HTTP://127.0.0.1:{port}/",
    "file:///etc/passwd", "file://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/_GET",
    "ws://127.0.0.1:{port}/",
    "data:text/plain,hello", "dict://127.0.0.1:{port}/", "ldap://127.0.0.1:{port}/", "unix:///run/docker.sock",
    "jar:http://127.0.0.1:{port}/!/",
    "tcp://127.0.0.1:{port}/", "http+unix://%2Frun%2Fdocker.sock/", "javascript:alert(1)", "about:blank",
    "http:\\\\127.0.0.1:{port}/",
    "http://evil.example:{port}\\@public.example/", "\thttp://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\x7f",
]  # fmt: skip
FORMS = [f"http://{host}:{{port}}/secret" for host in HOSTS] + URLS


class Secret:
    """What must not be reached: listens on loopback addresses and counts whoever connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        for family, address in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET, "127.0.0.2"),
            (socket.AF_INET6, "::1"),
        ):
            with contextlib.suppress(OSError):  # a machine without IPv6
                server = await asyncio.start_server(self._serve, address, self.port, family=family)
                self.port = server.sockets[0].getsockname()[1]
                self._servers.append(server)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        writer.close()

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()


@pytest.fixture
async def secret() -> AsyncIterator[Secret]:
    made = Secret()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def home() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/f", b"body")
        yield upstream


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver(dict(NAMES))


@pytest.fixture
async def upstream(
    home: FakeUpstream, resolver: FakeResolver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[HttpUpstream]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = HttpUpstream(UpstreamOptions("r", home.url, connect_timeout_s=2.0), SystemClock(), resolver=resolver)
    yield made
    await made.close()


async def get(upstream: HttpUpstream, url: str) -> bytes:
    async with upstream.request("GET", url, {}) as reply:
        return b"".join([chunk async for chunk in reply.chunks(65536)])


async def kind(upstream: HttpUpstream, url: str) -> str:
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream, url)
    return caught.value.kind


def test_there_are_at_least_a_hundred_forms() -> None:
    assert len(set(FORMS)) == len(FORMS) >= 100


@pytest.mark.parametrize("form", FORMS)
async def test_no_url_leads_into_the_own_network(secret: Secret, upstream: HttpUpstream, form: str) -> None:
    assert await kind(upstream, form.format(port=secret.port)) in REFUSED
    assert secret.connections == 0


@pytest.mark.parametrize("form", FORMS)
async def test_no_redirect_leads_into_the_own_network(
    secret: Secret, home: FakeUpstream, upstream: HttpUpstream, form: str
) -> None:
    home.script("/f", redirect(form.format(port=secret.port)))
    got = None
    try:
        got = await get(upstream, f"{home.url}/f")
    except UpstreamUnreachable as error:
        assert error.kind in {*REFUSED, "unsound"}, error  # noqa: PT017 - "unsound": no such byte in a head
    assert got in {None, b"no such thing here"}
    assert secret.connections == 0


@pytest.mark.parametrize("target", ["//127.0.0.1:{port}/", "//evil.example:{port}/", "///127.0.0.1:{port}/"])
async def test_neither_does_a_relative_one(
    secret: Secret, home: FakeUpstream, upstream: HttpUpstream, target: str
) -> None:
    home.script("/f", redirect(target.format(port=secret.port)))
    with contextlib.suppress(UpstreamUnreachable):
        assert await get(upstream, f"{home.url}/f") == b"no such thing here"
    assert secret.connections == 0


async def test_neither_does_a_chain(secret: Secret, home: FakeUpstream, upstream: HttpUpstream) -> None:
    home.script("/f", redirect("/g"))
    home.script("/g", redirect("/h"))
    home.script("/h", redirect(f"http://evil.example:{secret.port}/"))
    assert await kind(upstream, f"{home.url}/f") == "blocked"
    assert (secret.connections, len(home.requests)) == (0, 3)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{port}", "http://evil.example:{port}", "http://[::1]:{port}"])
async def test_a_trusted_origin_is_reached(
    secret: Secret, home: FakeUpstream, resolver: FakeResolver, form: str
) -> None:
    """The control: without the refusal, the listener would have been reached."""
    url = form.format(port=secret.port)
    options = UpstreamOptions("r", home.url, trusted_origins=(url,))
    upstream = HttpUpstream(options, SystemClock(), resolver=resolver)
    if "::1" in form and len(secret._servers) < 3:
        pytest.skip("this machine has no IPv6")
    assert await get(upstream, f"{url}/x") == b"secret"
    assert secret.connections == 1
    await upstream.close()


async def test_a_trusted_name_with_a_dot_behind_it_is_another_name(
    secret: Secret, home: FakeUpstream, resolver: FakeResolver
) -> None:
    options = UpstreamOptions("r", home.url, trusted_origins=(f"http://evil.example:{secret.port}",))
    upstream = HttpUpstream(options, SystemClock(), resolver=resolver)
    assert await kind(upstream, f"http://evil.example.:{secret.port}/") == "blocked"
    assert secret.connections == 0
    await upstream.close()


STAND_IN = "127.0.0.99"


@pytest.fixture
async def public(secret: Secret, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[int]]:
    """One loopback address that counts as public, so that nothing has to leave the machine."""
    monkeypatch.setattr(dialling, "is_public", lambda address: address == STAND_IN)
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\npublic")
        writer.close()

    server = await asyncio.start_server(serve, STAND_IN, secret.port)
    yield seen
    server.close()
    await server.wait_closed()


async def test_a_name_that_changes_its_mind_is_refused(
    secret: Secret, upstream: HttpUpstream, resolver: FakeResolver, public: list[int]
) -> None:
    url = f"http://rebinding.example:{secret.port}/"
    resolver.names["rebinding.example"] = [STAND_IN]
    assert await get(upstream, url) == b"public"
    resolver.names["rebinding.example"] = ["127.0.0.1"]
    await upstream.close()  # with it goes what was known of the name
    assert await kind(upstream, url) == "blocked"
    assert (secret.connections, len(public)) == (0, 1)


@pytest.mark.parametrize("order", [[STAND_IN, "127.0.0.1"], ["127.0.0.1", STAND_IN], ["::1", STAND_IN, "127.0.0.2"]])
async def test_of_a_mixed_answer_only_the_public_address_is_dialled(
    secret: Secret, upstream: HttpUpstream, resolver: FakeResolver, public: list[int], order: list[str]
) -> None:
    resolver.names["mixed.example"] = order
    assert await get(upstream, f"http://mixed.example:{secret.port}/") == b"public"
    assert (secret.connections, len(public)) == (0, 1)


async def test_a_public_address_that_is_down_is_no_way_in(
    secret: Secret, upstream: HttpUpstream, resolver: FakeResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "is_public", lambda address: address == STAND_IN)
    resolver.names["down.example"] = [STAND_IN, "127.0.0.1"]
    assert await kind(upstream, f"http://down.example:{secret.port}/") == "connect"
    assert secret.connections == 0


async def test_a_mirror_that_answers_for_every_name_may_be_asked_at_its_own_port(
    secret: Secret, home: FakeUpstream, resolver: FakeResolver
) -> None:
    resolver.names |= {"mirror.example": ["127.0.0.1"], "files.example": ["127.0.0.1"]}
    base = f"http://mirror.example:{home.port}/"
    upstream = HttpUpstream(UpstreamOptions("r", base, password="tok"), SystemClock(), resolver=resolver)
    assert await get(upstream, f"http://files.example:{home.port}/f") == b"body"
    assert "authorization" not in home.requests[0].headers
    assert await kind(upstream, f"http://files.example:{secret.port}/f") == "blocked"
    assert await kind(upstream, f"http://evil2.example:{home.port}/f") == "blocked"
    assert (secret.connections, resolver.asked.count("mirror.example")) == (0, 1)
    await upstream.close()


async def test_a_mirror_whose_name_is_not_known_opens_nothing(secret: Secret, resolver: FakeResolver) -> None:
    base = f"http://unknown.example:{secret.port}/"
    upstream = HttpUpstream(UpstreamOptions("r", base), SystemClock(), resolver=resolver)
    assert await kind(upstream, f"http://evil.example:{secret.port}/") == "blocked"
    assert secret.connections == 0
    await upstream.close()
