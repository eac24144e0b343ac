"""The first look at a request: which repository, which part of the API.

Plain ASGI; the control API behind it is FastAPI. Order of checks: the path is sound (400), the repository exists (404),
its type fits (400, 405), the caller may (401, 403), the request is sound (400, 409, 413).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from millpond.access.scopes import reading, writing
from millpond.api import sending
from millpond.api.artifacts import ArtifactServer, Exchange, Repository, Request
from millpond.api.auth import CHALLENGE, Caller, Doorkeeper
from millpond.api.errands import ErrandServer, errand_of
from millpond.api.manners import PROBLEMS, Words, manner_of
from millpond.api.oci import Asked, Registry
from millpond.api.origin import Origins
from millpond.api.paths import read_path, with_plain_scopes, without_dots
from millpond.api.problems import CONTENT_TYPE, problem, status_of
from millpond.api.publish import Publisher
from millpond.api.receiving import Incoming
from millpond.api.sending import Asgi, Message, Receive, Scope, Send
from millpond.artifacts.formats.base import EscapesSlashes, PlainDots
from millpond.artifacts.proxy import Proxy
from millpond.config import RESERVED
from millpond.errors import Denied, MillpondError, NotAllowed, NotFound

REMOTE = "api/v1/remote/"
UPLOADING = frozenset({"PUT", "POST"})
log = structlog.get_logger(__name__)


class _Explained(MillpondError):
    """An error that is told in a repository's own manner."""

    def __init__(self, cause: MillpondError, manner: Words) -> None:
        super().__init__(str(cause))
        self.cause, self.manner = cause, manner


@dataclass(frozen=True, slots=True)
class Site:
    """The ASGI application. `repositories` is looked up at each request, so that a reload takes effect at once."""

    repositories: Callable[[], Mapping[str, Repository]]
    artifacts: ArtifactServer
    errands: ErrandServer
    publisher: Publisher
    registry: Registry
    doorkeeper: Doorkeeper
    origins: Origins
    control: Asgi
    adopted: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.control(scope, receive, send)
            return
        headers = _headers(scope)
        incoming = Incoming(receive) if scope["method"] in UPLOADING else None
        try:
            await self._route(scope, headers, incoming or receive, send)
        except MillpondError as error:
            if incoming is None:
                await _fail(error, scope["method"], send)
            else:
                await _fail_early(error, headers, incoming, send)
        except Exception:  # uvicorn answers 500, or breaks off what has begun; its own log is silent (server/logs.py)
            log.exception("a request failed: a fault of the pond's own", method=scope["method"], path=scope["path"])
            raise

    async def _route(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path", scope["path"].encode())[1:]
        first = raw.partition(b"/")[0].decode("latin-1")
        if raw.startswith(REMOTE.encode()):
            await self._remote(scope, headers, raw[len(REMOTE) :], receive, send)
        elif first == "v2":
            await self.registry.serve(Asked(scope, headers, raw[2:]), self._repository, receive, send)
        elif first in RESERVED or first == "":
            await self._controlled(scope, receive, send)
        else:
            await self._mounted(scope, headers, raw, receive, send)

    async def _controlled(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the control API; its HEAD is GET without a body (RFC 9110 section 9.3.2)."""

        async def bodiless(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        if scope["method"] == "HEAD":
            await self.control({**scope, "method": "GET"}, receive, bodiless)
        else:
            await self.control(scope, receive, send)

    async def _mounted(
        self, scope: Scope, headers: Mapping[str, str], raw: bytes, receive: Receive, send: Send
    ) -> None:
        """Serve the native mount: ``/{repository}/{path}``."""
        repository, path = await self._found(raw)
        try:
            await self._asked(scope, headers, repository, path, receive, send)
        except MillpondError as error:
            raise _Explained(error, manner_of(repository.format)) from error

    async def _asked(
        self, scope: Scope, headers: Mapping[str, str], repository: Repository, path: str, receive: Receive, send: Send
    ) -> None:
        """Serve what is asked of one repository: an artifact, or a service beside them."""
        name, method = repository.name, scope["method"]
        errand = errand_of(repository, method, path, scope["query_string"].decode("latin-1"), headers)
        if errand is None and method not in {"GET", "HEAD"}:
            await _not_allowed(scope, send, "GET, HEAD")
            return
        caller = await self._reader(headers, name)
        request = replace(self._request(scope, headers, name, path, caller), manner=manner_of(repository.format))
        exchange = Exchange(request, receive, send, _zero_copy(scope))
        if errand is not None and isinstance(repository, Proxy):
            await self.errands.serve(repository, errand, exchange)
        else:
            await self.artifacts.serve(repository, exchange)

    async def _remote(self, scope: Scope, headers: Mapping[str, str], raw: bytes, receive: Receive, send: Send) -> None:
        """Serve the contract's own URLs: ``/api/v1/remote/{remote}/{path}``."""
        repository, path = await self._found(raw)
        name, method = repository.name, scope["method"]
        if method in {"PUT", "DELETE"}:
            local = self.publisher.local(repository)
            caller = await self.doorkeeper.caller(headers)
            caller.require(writing(name))
            await self.publisher.change(local, method, path, headers, receive, send, caller=caller.name)
            return
        allowed = "GET, HEAD, PUT, DELETE" if repository.type == "local" else "GET"
        if method not in allowed.split(", "):
            await _not_allowed(scope, send, allowed)
            return
        caller = await self._reader(headers, name)
        request = self._request(scope, headers, name, path, caller, attachment=True)
        await self.artifacts.serve(repository, Exchange(request, receive, send, _zero_copy(scope)))

    async def _reader(self, headers: Mapping[str, str], name: str) -> Caller:
        caller = await self.doorkeeper.caller(headers)
        caller.require(reading(name))
        return caller

    async def _found(self, raw: bytes) -> tuple[Repository, str]:
        """Read a raw path: the repository, and the decoded rest. Raises `BadRequest`, `NotFound`."""
        name, path = _split(without_dots(with_plain_scopes(raw)))
        repository = await self._repository(name)
        plain = with_plain_scopes(raw) if isinstance(repository.format, EscapesSlashes) else raw
        _split(without_dots(plain) if isinstance(repository.format, PlainDots) else plain)  # what else is meant is not
        return repository, path

    async def _repository(self, name: str) -> Repository:
        found = self.repositories().get(name)
        if found is None:
            await self.adopted()
            found = self.repositories().get(name)
        if found is None:
            raise NotFound(f"there is no repository {name!r}; `millpond repo ls` lists them")
        return found

    def _request(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        name: str,
        path: str,
        caller: Caller,
        *,
        attachment: bool = False,
    ) -> Request:
        return Request(
            method=scope["method"],
            headers=headers,
            path=path,
            query=scope["query_string"].decode("latin-1"),
            mount=f"{self.origins.of_scope(scope, headers)}/{name}",
            token=caller.name,
            attachment=attachment,
            target=_target(scope),
        )


def _headers(scope: Scope) -> dict[str, str]:
    """Give the header fields; Docker Engines send one Accept line for each type."""
    headers: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name == "accept" and name in headers else text
    return headers


def _target(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path", b"")
    query: bytes = scope["query_string"]
    return raw + b"?" + query if query else raw


def _split(raw: bytes) -> tuple[str, str]:
    """Split a raw path into the repository's name and the decoded rest."""
    name, _, path = read_path(raw).partition("/")
    return name, path


async def _not_allowed(scope: Scope, send: Send, allowed: str) -> None:
    body = problem(405, f"this takes {allowed}")
    head = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await sending.start(send, 405, [(b"allow", allowed.encode()), *head])
    await sending.finish(send, b"" if scope["method"] == "HEAD" else body)


async def _fail(error: MillpondError, method: str, send: Send) -> None:
    status, headers, body = _failure(error)
    await sending.start(send, status, headers)
    await sending.finish(send, b"" if method == "HEAD" else body)


async def _fail_early(error: MillpondError, headers: Mapping[str, str], incoming: Incoming, send: Send) -> None:
    """Refuse a request whose body may still be on its way: what is left of it is not read, the connection ends."""
    status, head, body = _failure(error)
    await sending.start(send, status, [*head, (b"connection", b"close")])
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await incoming.linger(expects=headers.get("expect", "").lower() == "100-continue")
    await sending.finish(send)


def _failure(error: MillpondError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Give status, head and body of an error's answer."""
    manner = error.manner if isinstance(error, _Explained) else PROBLEMS
    error = error.cause if isinstance(error, _Explained) else error
    status = status_of(error)
    if status >= 500:  # noqa: PLR2004 - ours
        log.error("request failed", error=str(error))
    kind, body = manner.words(status, str(error))
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    if isinstance(error, Denied) and error.authenticate:
        headers.append((b"www-authenticate", CHALLENGE))
    if isinstance(error, NotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    if status == 503:  # noqa: PLR2004 - it passes
        headers.append((b"retry-after", b"5"))
    return status, headers, body


def _zero_copy(scope: Scope) -> bool:
    return sending.ZERO_COPY in scope.get("extensions", {})
