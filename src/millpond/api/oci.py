"""The OCI registry: ``/v2/`` (OCI distribution specification 1.1).

A repository's images are below its name, ``/v2/{repository}/{name}/...``. Two ways leave the name out: the listener for
Docker Engines' registry mirrors is bound to one repository, and containerd says by ``?ns=`` which registry it means;
that is looked up among what is configured, and never asked itself. Here everything is told in the protocol's own words,
errors too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import structlog

from millpond.access.scopes import reading
from millpond.api import registry, sending
from millpond.api.artifacts import ArtifactServer, Exchange, Repository, Request
from millpond.api.auth import Caller, Doorkeeper
from millpond.api.origin import Origins
from millpond.api.paths import read_path
from millpond.api.problems import status_of
from millpond.api.sending import Receive, Scope, Send
from millpond.artifacts.formats.docker import names
from millpond.config import HUB, Config
from millpond.errors import BadRequest, Denied, MillpondError, NotFound

DOCKER = "docker"
Find: TypeAlias = Callable[[str], Awaitable[Repository]]
MIRRORED = "millpond.mirror"
"""The key of a scope that says: it came by the listener for registry mirrors."""
_NO_BODY_TYPES = ("GET", "HEAD")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Registries:
    """The docker repositories of a configuration: by name, and by the registry that each one stands for."""

    packages: Mapping[str, str]
    by_host: Mapping[str, str]
    mirror: str = ""
    """The repository that registry mirrors are bound to: the one of Docker Hub; empty: there is none."""
    uploading: bool = False
    """Whether one of them takes uploads, so that clients have to show who they are."""

    @classmethod
    def of(cls, config: Config) -> Registries:
        """Read them from a configuration."""
        docker = {name: one for name, one in config.repositories.items() if one.package == DOCKER}
        first = reversed(docker.items())  # of two with one host the first counts
        hosts = {urlsplit(one.base_url).netloc.lower(): name for name, one in first if one.base_url}
        mirrored = {one.mirror_of: name for name, one in docker.items() if one.mirror_of}
        packages = {name: one.package for name, one in config.repositories.items()}
        uploading = any(one.type == "local" for one in docker.values())
        return cls(packages, hosts | mirrored, mirrored.get(HUB, ""), uploading)

    def find(self, path: str, ns: str, *, mirrored: bool) -> tuple[str, str]:
        """Give the repository that is meant, and the path within it. Raises `NotFound`."""
        first, _, rest = path.partition("/")
        if ns:
            named = self.by_host.get(ns.lower(), "")
            if not named and (mirrored or self.packages.get(first) != DOCKER):
                known = ", ".join(sorted(self.by_host)) or "none"
                raise NotFound(f"no docker repository of this pond stands for the registry {ns[:80]!r}; known: {known}")
            return (named, path) if named else (first, rest)
        if not mirrored:
            return first, rest
        if not self.mirror:
            raise NotFound(f'this address is for a registry mirror, and no repository has mirror_of = "{HUB}"')
        return self.mirror, path


@dataclass(frozen=True, slots=True)
class Registry:
    """Serves ``/v2/``."""

    artifacts: ArtifactServer
    doorkeeper: Doorkeeper
    registries: Callable[[], Registries]
    origins: Origins
    adopted: Callable[[], Awaitable[None]]
    """Waits until what is to be adopted is there."""

    async def serve(self, asked: Asked, find: Find, receive: Receive, send: Send) -> None:
        """Serve one request; `find` gives a repository by name."""
        raw = asked.raw
        try:
            if raw in {b"", b"/"}:
                await self._root(asked, send)
            else:
                await self._below(asked, find, receive, send)
        except MillpondError as error:
            await self._fail(error, asked, send)

    async def _root(self, asked: Asked, send: Send) -> None:
        """Say that this is a registry; or, where clients have to show who they are, where to get a token."""
        if asked.method not in _NO_BODY_TYPES:
            await _answer(send, asked, 405, registry.error("UNSUPPORTED", "this takes GET, HEAD"), _ALLOW)
            return
        caller = await self.doorkeeper.caller(asked.headers)
        anonymous = not caller.name and not caller.limited
        found = self.registries()
        if anonymous and DOCKER in found.packages.values() and (found.uploading or not self.doorkeeper.open):
            raise Denied("get a token, which needs no credentials where reading is open", authenticate=True)
        await _answer(send, asked, 200, b"{}")

    async def _below(self, asked: Asked, find: Find, receive: Receive, send: Send) -> None:
        path = read_path(asked.raw[1:])
        if path == "_catalog":
            text = "what an upstream has is not known here; `millpond repo show` lists what is stored"
            await _answer(send, asked, 404, registry.error("UNSUPPORTED", text))
            return
        asked.full_path = path
        name, rest = await self._found(asked, path)
        repository = await find(name)
        if self.registries().packages.get(name) != DOCKER:
            raise BadRequest(f"{name} is no docker repository: use /{name}/...")
        asked.repository, asked.path = name, rest
        if asked.method not in _NO_BODY_TYPES:
            text = f"{name} is a remote repository, to which nothing is pushed: this takes GET, HEAD"
            await _answer(send, asked, 405, registry.error("UNSUPPORTED", text), _ALLOW)
            return
        caller = await self.doorkeeper.caller(asked.headers)
        caller.require(reading(name))
        place = names.read(rest)
        if isinstance(place, names.Unreadable):
            status = 404 if place.code == "UNSUPPORTED" else 400
            self.artifacts.metrics.refused(name, status)
            await _answer(send, asked, status, registry.error(place.code, place.reason))
            return
        request = self._request(asked, place, caller)
        await self.artifacts.serve(repository, Exchange(request, receive, send, asked.zero_copy))

    async def _found(self, asked: Asked, path: str) -> tuple[str, str]:
        """Find the repository; while this machine's upstreams are still being looked for, wait for them."""
        try:
            return self.registries().find(path, asked.ns, mirrored=asked.mirrored)
        except NotFound:
            await self.adopted()
        return self.registries().find(path, asked.ns, mirrored=asked.mirrored)

    def _request(self, asked: Asked, place: names.Place, caller: Caller) -> Request:
        list_path = "/v2/" + asked.full_path
        return Request(
            method=asked.method,
            headers=asked.headers,
            path=asked.path,
            query=asked.query,
            mount=f"{self._origin(asked)}/{asked.repository}",
            token=caller.name,
            target=asked.target,
            manner=registry.Dressed(place.kind, list_path),
        )

    def _origin(self, asked: Asked) -> str:
        return self.origins.of_scope(asked.scope, asked.headers)

    async def _fail(self, error: MillpondError, asked: Asked, send: Send) -> None:
        status = status_of(error)
        if status >= 500:  # noqa: PLR2004 - ours
            log.error("request failed", error=str(error))
        more: list[tuple[bytes, bytes]] = []
        if isinstance(error, Denied) and error.authenticate:
            limited = "authorization" in asked.headers
            told = registry.challenge(self._origin(asked), asked.wanted(), insufficient=limited)
            more.append((b"www-authenticate", told))
        if status == 503:  # noqa: PLR2004 - it passes
            more.append((b"retry-after", b"5"))
        code = "NAME_UNKNOWN" if status == 404 else registry.code_of(status)  # noqa: PLR2004 - Not Found
        await _answer(send, asked, status, registry.error(code, str(error)), *more)


_ALLOW = (b"allow", b"GET, HEAD")


class Asked:
    """One request, as far as it is understood; `raw` is what comes behind ``/v2``."""

    def __init__(self, scope: Scope, headers: Mapping[str, str], raw: bytes) -> None:
        self.scope, self.headers, self.raw = scope, headers, raw
        self.method: str = scope["method"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.ns = parse_qs(self.query[:4096]).get("ns", [""])[0]
        self.mirrored = bool(scope.get(MIRRORED))
        self.zero_copy = sending.ZERO_COPY in scope.get("extensions", {})
        self.full_path = self.repository = self.path = ""

    @property
    def target(self) -> bytes:
        """The request target that answers are remembered under; the two listeners' are kept apart."""
        raw: bytes = self.scope.get("raw_path", b"")
        whole = raw + b"?" + self.query.encode("latin-1") if self.query else raw
        return mirror_key(whole) if self.mirrored else whole

    def wanted(self) -> str:
        """Write the scope that a token needs for this, as clients ask for it."""
        place = names.read(self.path) if self.path else None
        return f"repository:{self.repository}/{place.name}:pull" if isinstance(place, names.Place) else ""


def mirror_key(target: bytes) -> bytes:
    """Give what a request target of the mirrors' listener is remembered under: no target begins so."""
    return b"mirror " + target


async def _answer(send: Send, asked: Asked, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    head = [(b"content-type", registry.JSON.encode()), (b"content-length", b"%d" % len(body)), registry.VERSION, *more]
    await sending.start(send, status, head)
    await sending.finish(send, b"" if asked.method == "HEAD" else body)
