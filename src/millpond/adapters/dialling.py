"""The connections to one upstream: which pool dials, and through which proxy.

Three pools. `direct` dials the configured origins, wherever they are: the operator named them. `guarded` dials what
others named (redirects, off-host files): its socket factory refuses every address that is not public, at the moment
of connecting, so that neither literal addresses nor DNS that changes its mind get past it. `proxied` dials the proxy
that the environment names (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), which may be private; the proxy does the resolving
then, so only names and addresses that are local by themselves are refused.

aiohttp's own `trust_env` is not used: it would send passwords from a .netrc to whatever host a redirect names.
Errors are raised without their cause, whose text may hold a signed URL.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from millpond.adapters import failures
from millpond.adapters.addresses import Location, Origin, is_local_name, is_public
from millpond.clock import Clock
from millpond.errors import ConfigError, UpstreamUnreachable

READ_BYTES = 256 * 1024
KEEP_IDLE_S = 30.0
HOME_TTL_S = 60.0
RETRIED = frozenset({"GET", "HEAD", "POST"})  # what is posted are questions (formats.base.PassesOn)


@dataclass(slots=True)
class _Attempts:
    """What one request dialled, for the pools that are guarded."""

    allowed: frozenset[tuple[str, int]] = frozenset()
    dialled: int = 0
    refused: int = 0


_attempts: ContextVar[_Attempts] = ContextVar("_attempts")


def _guard(info: aiohttp.AddrInfoType) -> socket.socket:
    """Make the socket for an address, if it may be dialled (aiohttp's socket factory)."""
    family, kind, proto, _, address = info
    host, port = str(address[0]), int(address[1])
    attempts = _attempts.get()
    if not is_public(host) and (host, port) not in attempts.allowed:
        attempts.refused += 1
        raise PermissionError(errno.EACCES, "that address may not be dialled")
    attempts.dialled += 1
    return socket.socket(family, kind, proto)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from retrying: it would also retry what died on a fresh connection."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise failures.Lost from None


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


@lru_cache(maxsize=4)
def _tls_context(cert_file: str, cert_dir: str) -> ssl.SSLContext:  # noqa: ARG001 - the key: OpenSSL reads them itself
    """Load the system's certificates; slow (it reads files), so once for each setting of the environment."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Proxies:
    """The proxies that the environment names, read once."""

    def __init__(self) -> None:
        self._urls = getproxies()
        for scheme in ("http", "https"):
            url = self._urls.get(scheme, self._urls.get("all", ""))
            if "://" in url and not url.startswith(("http://", "https://")):
                kind = url.partition("://")[0]
                raise ConfigError(f"{scheme.upper()}_PROXY: {kind} proxies are not supported; name an http:// one")

    def pick(self, origin: Origin) -> URL | None:
        """Say which proxy to ask for an origin; None: go there directly."""
        url = self._urls.get(origin.scheme, self._urls.get("all", ""))
        host = f"{origin.host}:{origin.port}"
        if not url or proxy_bypass(host, self._urls):
            return None
        return URL(url if "://" in url else f"http://{url}")


class Dialler:
    """Sends single requests; knows nothing of redirects, credentials or circuits."""

    def __init__(
        self, home: Origin, clock: Clock, *, connect_timeout_s: float, read_timeout_s: float,
        resolver: AbstractResolver | None = None,
    ) -> None:  # fmt: skip
        self._home, self._clock = home, clock
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        self._connect_timeout_s, self._read_timeout_s = connect_timeout_s, read_timeout_s
        self._given_resolver = resolver
        self._resolver: AbstractResolver | None = None
        self._proxies = Proxies()
        self._context: ssl.SSLContext | None = None
        self._pools: dict[str, aiohttp.ClientSession] = {}
        self._home_addresses: frozenset[tuple[str, int]] = frozenset()
        self._home_until = float("-inf")
        self._home_lock = asyncio.Lock()

    async def send(
        self, method: str, location: Location, headers: Mapping[str, str], *, trusted: bool, body: bytes = b""
    ) -> aiohttp.ClientResponse:
        """Ask, without following redirects, and give the answer with its body unread.

        `trusted`: the origin was configured, and may be at any address. Raises `UpstreamUnreachable`.
        """
        proxy = self._proxies.pick(location.origin)
        if proxy is not None and not trusted and is_local_name(location.origin.host):
            raise blocked(location.origin)
        attempts = _Attempts()
        if proxy is None and not trusted:
            attempts.allowed = await self._mirrored()
        pool = self._pool("proxied" if proxy is not None else "direct" if trusted else "guarded")
        token = _attempts.set(attempts)
        try:
            return await self._ask(pool, method, location, headers, proxy, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._named(error, location.origin, attempts) from None
        finally:
            _attempts.reset(token)

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()
        if self._resolver is not None and self._given_resolver is None:
            await self._resolver.close()
        self._resolver = None

    async def _ask(
        self,
        pool: aiohttp.ClientSession,
        method: str,
        location: Location,
        headers: Mapping[str, str],
        proxy: URL | None,
        body: bytes,
    ) -> aiohttp.ClientResponse:
        """Send; as long as it is a pooled connection that turns out dead, take the next one.

        Each try uses one dead connection up, so it ends with a fresh one.
        """
        tls = await self._tls() if "https" in {location.origin.scheme, proxy.scheme if proxy else ""} else True
        while True:
            state = SimpleNamespace(reused=False)
            try:
                return await pool.request(
                    method, URL(location.url, encoded=True), headers=headers, allow_redirects=False, proxy=proxy,
                    data=body or None,
                    ssl=tls, trace_request_ctx=state,
                )  # fmt: skip
            except failures.Lost:
                if not state.reused or method not in RETRIED:
                    raise

    def _pool(self, kind: str) -> aiohttp.ClientSession:
        if kind not in self._pools:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            connector = aiohttp.TCPConnector(
                limit=0,  # the caller limits, over all pools
                keepalive_timeout=KEEP_IDLE_S,
                resolver=self._resolving(),
                socket_factory=_guard if kind == "guarded" else None,
            )
            self._pools[kind] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, timeout=self._timeout,
                read_bufsize=READ_BYTES, middlewares=(_once,), trace_configs=[tracing],
            )  # fmt: skip
        return self._pools[kind]

    def _resolving(self) -> AbstractResolver:
        """Give the resolver: the system's own (hosts file, search domains), in a thread."""
        if self._resolver is None:
            self._resolver = self._given_resolver or aiohttp.ThreadedResolver()
        return self._resolver

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            where = (os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))
            self._context = await asyncio.to_thread(_tls_context, *where)
        return self._context

    async def _mirrored(self) -> frozenset[tuple[str, int]]:
        """Resolve the configured host: a company's mirror may answer for every name, at its one private address."""
        async with self._home_lock:
            if self._clock.monotonic() >= self._home_until:
                self._home_addresses = await self._resolved_home()
                self._home_until = self._clock.monotonic() + HOME_TTL_S
        return self._home_addresses

    async def _resolved_home(self) -> frozenset[tuple[str, int]]:
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in self._home.host else socket.AF_INET, self._home.host)
        except OSError:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    found = await self._resolving().resolve(self._home.host, self._home.port, socket.AF_UNSPEC)
            except OSError:  # of which TimeoutError is one
                return frozenset()
            return frozenset((each["host"], self._home.port) for each in found)
        return frozenset({(self._home.host, self._home.port)})

    def _named(self, error: Exception, origin: Origin, attempts: _Attempts) -> UpstreamUnreachable:
        """Say what a failure is, in words of our own: aiohttp's may quote the URL."""
        if attempts.refused and not attempts.dialled:
            return blocked(origin)
        kind, why = failures.named(error, connect_s=self._connect_timeout_s, read_s=self._read_timeout_s)
        return UpstreamUnreachable(f"{origin}: {why}", kind=kind)


def blocked(origin: Origin) -> UpstreamUnreachable:
    """Make the error for an origin that may not be dialled."""
    return UpstreamUnreachable(
        f"{origin} is at a private address, which only a configured upstream may be; "
        "if it is yours, add it to the repository's trusted_origins",
        kind="blocked",
    )
