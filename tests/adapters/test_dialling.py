from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from millpond.adapters import dialling
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.clock import SystemClock
from millpond.errors import ConfigError, UpstreamUnreachable
from millpond.testing.behaviours import redirect
from millpond.testing.resolver import FakeResolver
from millpond.testing.tcpfaults import FaultProxy, Faults
from millpond.testing.upstream import FakeUpstream

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Proxy:
    """Forwards everything to one port of this machine, whatever name is asked for; remembers how it was asked."""

    def __init__(self, port: int) -> None:
        self.target, self.port = port, 0
        self.heads: list[str] = []
        self.refuse = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            if self.refuse:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                await self._relay(head, reader, writer)
        writer.close()

    async def _relay(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            path = b"/" + url.split(b"/", 3)[3]
            far_writer.write(b" ".join((method, path, rest)))
        with contextlib.suppress(OSError):
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def proxied(server: FakeUpstream) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        await listening.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/f", b"body")
        yield upstream


@contextlib.asynccontextmanager
async def upstream_at(
    base_url: str, names: dict[str, list[str]] | None = None, **options: object
) -> AsyncIterator[HttpUpstream]:
    made = UpstreamOptions(name="r", base_url=base_url, **options)  # type: ignore[arg-type]
    upstream = HttpUpstream(made, SystemClock(), resolver=FakeResolver(dict(names or {})))
    try:
        yield upstream
    finally:
        await upstream.close()


async def get(upstream: HttpUpstream, url: str) -> bytes:
    async with upstream.request("GET", url, {}) as reply:
        assert reply.head.status == 200
        return b"".join([chunk async for chunk in reply.chunks(65536)])


async def failure(upstream: HttpUpstream, url: str) -> UpstreamUnreachable:
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream, url)
    return caught.value


async def test_a_plain_request_goes_through_the_proxy(server: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxied(server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://pu:pw@127.0.0.1:{proxy.port}")
        async with upstream_at("http://index.example/", username="u", password="p") as upstream:
            assert await get(upstream, "http://index.example/f?x=1") == b"body"
        assert proxy.heads[0].startswith("GET http://index.example/f?x=1 HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic cHU6cHc=" in proxy.heads[0]
    assert server.requests[0].headers["authorization"] == "Basic dTpw"


async def test_another_origin_may_be_asked_through_the_proxy_too(
    server: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(server) as proxy:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy.port}")
        async with upstream_at("http://index.example/", password="p") as upstream:
            assert await get(upstream, "http://files.example/f") == b"body"
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "x.localhost."])
async def test_the_proxy_is_never_asked_for_a_private_address(
    server: FakeUpstream, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    async with proxied(server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with upstream_at("http://index.example/") as upstream:
            server.always("/f", redirect(f"http://{host}/x"))
            for url in (f"http://{host}/x", "http://index.example/f"):
                assert (await failure(upstream, url)).kind == "blocked"
        assert len(proxy.heads) == 1


async def test_no_proxy_is_honoured(server: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxied(server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,.example")
        async with upstream_at(server.url) as upstream:
            assert await get(upstream, f"{server.url}/f") == b"body"
        assert proxy.heads == []


async def test_a_proxy_that_is_down_or_refuses_is_named(server: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxied(server) as proxy:
        proxy.refuse = True
        monkeypatch.setenv("HTTPS_PROXY", f"http://pu:canary@127.0.0.1:{proxy.port}")
        async with upstream_at("https://index.example/") as upstream:
            refused = await failure(upstream, "https://index.example/f")
            assert (refused.kind, str(refused)) == ("connect", "https://index.example: the proxy answered 403")
    async with upstream_at("https://index.example/") as upstream:
        down = await failure(upstream, "https://index.example/f")
        assert down.kind == "connect"
        assert str(down) == "https://index.example: the proxy can't be reached: connection refused"


def test_a_kind_of_proxy_that_we_do_not_speak_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://u:canary@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="socks5 proxies are not supported") as caught:
        HttpUpstream(UpstreamOptions("r", "http://index.example/"), SystemClock())
    assert "canary" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=DNS:index.example,DNS:files.example",
         "-out", str(made[0]), "-keyout", str(made[1])],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*made)
    return made[0], context


@pytest.fixture
async def secure(certificate: tuple[Path, ssl.SSLContext]) -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(tls=certificate[1]) as upstream:
        upstream.put("/f", b"secure body")
        yield upstream


HERE = {"index.example": ["127.0.0.1"], "files.example": ["127.0.0.1"], "wrong.example": ["127.0.0.1"]}


async def test_the_systems_certificate_settings_are_honoured(
    secure: FakeUpstream, certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    base = f"https://index.example:{secure.port}/"
    async with upstream_at(base, HERE) as upstream:
        assert await get(upstream, f"{base}f") == b"secure body"
        assert await get(upstream, f"{base}f") == b"secure body"
    assert secure.connections == 1


async def test_a_certificate_that_is_not_trusted_or_of_another_name_is_refused(
    secure: FakeUpstream, certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"https://index.example:{secure.port}/"
    async with upstream_at(base, HERE) as upstream:
        error = await failure(upstream, f"{base}f")
        assert (error.kind, "SSL_CERT_FILE" in str(error)) == ("tls", True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    base = f"https://wrong.example:{secure.port}/"
    async with upstream_at(base, HERE) as upstream:
        error = await failure(upstream, f"{base}f")
        assert (error.kind, "certificate" in str(error)) == ("tls", True)
    assert secure.requests == []


async def test_a_server_that_speaks_no_tls_is_named() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(plain, "127.0.0.1", 0)
    base = f"https://index.example:{listening.sockets[0].getsockname()[1]}/"
    async with upstream_at(base, HERE) as upstream:
        assert (await failure(upstream, f"{base}f")).kind == "tls"
    listening.close()
    await listening.wait_closed()


async def test_a_black_hole_is_given_up_in_time(server: FakeUpstream) -> None:
    async with FaultProxy(server.port) as relay:
        relay.faults = Faults(blackhole=True)
        base = f"https://127.0.0.1:{relay.port}/"
        async with upstream_at(base, connect_timeout_s=0.05) as upstream:
            error = await failure(upstream, f"{base}f")
    assert (error.kind, "no connection within 0.05 s" in str(error)) == ("timeout", True)


async def test_https_never_falls_back_to_http(
    secure: FakeUpstream,
    server: FakeUpstream,
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    base = f"https://index.example:{secure.port}/"
    secure.script("/f", redirect(f"{server.url}/f"))
    async with upstream_at(base, HERE, trusted_origins=(server.url,)) as upstream:
        error = await failure(upstream, f"{base}f")
    assert (error.kind, "from https to http" in str(error)) == ("redirect", True)
    assert server.connections == 0


async def test_a_tunnel_through_the_proxy_is_checked_end_to_end(
    secure: FakeUpstream, certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with proxied(secure) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://pu:pw@127.0.0.1:{proxy.port}")
        async with upstream_at("https://index.example/", password="tok") as upstream:
            assert await get(upstream, "https://index.example/f") == b"secure body"
            assert await get(upstream, "https://files.example/f") == b"secure body"
            assert (await failure(upstream, "https://wrong.example/f")).kind == "tls"
        assert proxy.heads[0].startswith("CONNECT index.example:443 HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic cHU6cHc=" in proxy.heads[0]
        assert not any("tok" in head for head in proxy.heads)
    assert [request.headers.get("authorization") for request in secure.requests] == ["Bearer tok", None]


def test_the_certificates_are_loaded_once_for_a_setting(certificate: tuple[Path, ssl.SSLContext]) -> None:
    one = dialling._tls_context(str(certificate[0]), "")
    assert dialling._tls_context(str(certificate[0]), "") is one
