"""The registries that images come from, through the pond's own docker repositories, in this process.

What a host would ask the pond for by HTTP is asked of the repository itself: so a warm image is exactly what hosts are
given, one flight brings each object however many ask, and the upstream sees each of them once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millpond.app.core import Core
from millpond.artifacts import freshness
from millpond.artifacts.answer import Answer
from millpond.artifacts.flights import Flight, Refused
from millpond.artifacts.model import Entry, Target
from millpond.artifacts.proxy import Proxy
from millpond.artifacts.spool import Spool
from millpond.hosts.model import Kind
from millpond.hosts.ports import Layers, NotPulled
from millpond.hosts.pulling import fits
from millpond.hosts.references import Reference

DOCKER = "docker"
BLOBS_AT_ONCE = 4
LOOK_S = 0.25
MAX_MANIFESTS, MAX_BLOBS = 500, 2000
MAX_DOCUMENT = 4 << 20
OK = 200
_KINDS: Mapping[int, Kind] = {
    400: Kind.PERMANENT, 401: Kind.CREDENTIALS, 403: Kind.CREDENTIALS, 404: Kind.PERMANENT, 410: Kind.PERMANENT,
    429: Kind.WAIT,
}  # fmt: skip
_UPSTREAM = re.compile(r"the upstream answered (\d{3})\b")
Heard = Callable[[int, int], None]


class PondRegistry:
    """The pond as an app's hosts see it; `pond` is its ``host:port`` for them."""

    def __init__(self, app: Core, pond: str) -> None:
        self._app, self._pond = app, pond

    def name(self, reference: Reference) -> str:
        """Give the image's name under the pond; one that names the pond already stays."""
        repository, path = self._place(reference)
        return f"{self._pond}/{repository.name}/{path}"

    def _place(self, reference: Reference) -> tuple[Proxy, str]:
        """Find the repository, and the image's name in it. Raises `NotPulled`."""
        if self._pond and reference.domain == self._pond:
            name, _, path = reference.path.partition("/")
        else:
            name, path = self._standing_for(reference.domain), reference.path
        repository = self._app.repositories.get(name)
        if isinstance(repository, Proxy) and repository.format.name == DOCKER and path:
            return repository, path
        if name:
            raise NotPulled(f"the pond has no docker repository {name!r}", kind=Kind.PERMANENT)
        registry = reference.domain
        text = (
            f"no repository of the pond stands for the registry {registry} of {reference.short}: write "
            f'[repositories.NAME] with package = "docker", base_url = "https://..." and mirror_of = "{registry}", '
            'or pull = "direct"'
        )
        raise NotPulled(text, kind=Kind.PERMANENT)

    def _standing_for(self, domain: str) -> str:
        docker = {name: one for name, one in self._app.config.repositories.items() if one.package == DOCKER}
        mirrors = (name for name, one in docker.items() if one.mirror_of == domain)
        origins = (name for name, one in docker.items() if urlsplit(one.base_url).netloc.lower() == domain.lower())
        return next(mirrors, None) or next(origins, "")

    async def pin(self, reference: Reference, platform: str, *, refresh: bool = False) -> str:
        """Give a tag's digest; the pond's stored answer where the upstream is away."""
        repository, path = self._place(reference)
        if refresh and not reference.digest:
            await self._revalidate(repository, f"{path}/manifests/{reference.tag or 'latest'}")
        digest, document = await self._manifest(repository, path, reference.digest or reference.tag or "latest")
        chosen = next(_members(document, (platform,)), None) if platform else None
        if platform and _is_index(document) and chosen is None:
            raise _unmatched(reference, platform)
        return chosen["digest"] if chosen else digest

    async def warm(self, reference: Reference, platforms: Collection[str], heard: Heard) -> Layers:
        """Fetch manifests and blobs that are not at hand yet."""
        repository, path = self._place(reference)
        _, document = await self._manifest(repository, path, reference.digest)
        layers: dict[str, dict[str, int]] = {}
        for platform in platforms:
            member = next(_members(document, (platform,)), None)
            if _is_index(document) and member is None:
                raise _unmatched(reference, platform)
            own = document if member is None else (await self._manifest(repository, path, member["digest"]))[1]
            layers[platform] = _blobs(own)
        await self._fetch_all(repository, path, {k: v for one in layers.values() for k, v in one.items()}, heard)
        return layers

    async def _fetch_all(self, repository: Proxy, path: str, blobs: Mapping[str, int], heard: Heard) -> None:
        turn, there, total = asyncio.Semaphore(BLOBS_AT_ONCE), dict.fromkeys(blobs, 0), sum(blobs.values())

        async def one(digest: str) -> None:
            def note(count: int) -> None:
                there[digest] = min(count, blobs[digest])
                heard(sum(there.values()), total)

            async with turn:
                await self._fetch(repository, f"{path}/blobs/{digest}", note)
                note(blobs[digest])

        ended = await asyncio.gather(*map(one, blobs), return_exceptions=True)  # a fault lets the others land
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault

    async def _fetch(self, repository: Proxy, path: str, note: Callable[[int], None]) -> None:
        """Have one object at hand. Where the pond has no room for it, hosts get it as it passes."""
        answer = await self._get(repository, path)
        ended: asyncio.Future[None] | None = None
        try:
            flight = answer.body
            if not isinstance(flight, Flight):
                return
            ended = asyncio.ensure_future(flight.ended())
            while not (await asyncio.wait({ended}, timeout=LOOK_S))[0]:
                note(flight.tape.written if isinstance(flight.tape, Spool) else 0)
            if isinstance(flight.outcome, Refused):
                raise _refused(flight.outcome.status, flight.outcome.reason, flight.outcome.retry_after_s)
        finally:
            if ended is not None:
                ended.cancel()
            answer.close()

    async def _revalidate(self, repository: Proxy, path: str) -> None:
        """Have the upstream asked, also where what is stored is fresh. What it said is what is stored then."""
        flight, _ = repository.join(_target(repository, path), "", force=True)
        try:
            await flight.ended()
        finally:
            flight.release()

    async def _get(self, repository: Proxy, path: str) -> Answer:
        answer = await repository.get(_target(repository, path), "")
        if answer.status != OK:
            answer.close()
            raise _refused(answer.status, answer.reason, answer.retry_after_s)
        return answer

    async def _manifest(self, repository: Proxy, path: str, reference: str) -> tuple[str, dict[str, Any]]:
        """Give a manifest's digest, and what it says."""
        for _ in range(2):
            answer = await self._get(repository, f"{path}/manifests/{reference}")
            try:
                digest, body = answer.given, answer.body
                if isinstance(body, Flight):
                    await body.ended()
                    continue  # it came while we asked: now it is at hand
                with contextlib.suppress(FileNotFoundError):
                    assert digest is not None  # noqa: S101 - what is stored has one
                    assert body is not None  # noqa: S101 - status 200 has one
                    return digest, await asyncio.to_thread(_read, body)
            finally:
                answer.close()
        raise NotPulled(f"{path}:{reference} could not be kept: is the pond's disk full?", kind=Kind.TRANSIENT)

    async def drop(self, reference: Reference) -> int:
        """Compare what is stored of a digest with its digests, and take away what differs."""
        repository, path = self._place(reference)
        dropped = await self._drop(repository, f"{path}/manifests/{reference.digest}")
        blob = self._app.catalog.blob_path(reference.digest)
        for digest in _named(await asyncio.to_thread(_read_if_there, blob)):
            for kind in ("manifests", "blobs"):
                dropped += await self._drop(repository, f"{path}/{kind}/{digest}")
            inner = self._app.catalog.blob_path(digest)
            if await self._app.catalog.find(repository.name, f"{path}/manifests/{digest}", ""):
                for below in _named(await asyncio.to_thread(_read_if_there, inner)):
                    dropped += await self._drop(repository, f"{path}/blobs/{below}")
        return dropped

    async def _drop(self, repository: Proxy, path: str) -> int:
        entry = await self._app.catalog.find(repository.name, path, "")
        if entry is None or entry.digest is None:
            return 0
        if await asyncio.to_thread(_sound, self._app.catalog.blob_path(entry.digest), entry):
            return 0
        self._app.catalog.blob_path(entry.digest).unlink(missing_ok=True)
        await self._app.catalog.missing(entry)
        return 1


def _target(repository: Proxy, path: str) -> Target:
    found = repository.resolve(path, "", "")
    if not isinstance(found, Target):
        why = getattr(found, "reason", "") or f"refused: {getattr(found, 'rule', found)}"
        raise NotPulled(f"{repository.name}: {why}", kind=Kind.PERMANENT)
    return found


def _refused(status: int, reason: str, retry_after_s: float | None) -> NotPulled:
    """Class a refusal: by the upstream's own status, where the pond's answer tells of it."""
    told = _UPSTREAM.search(reason)
    kind = _KINDS.get(int(told[1]) if told else status, Kind.TRANSIENT)
    text = "manifest unknown: the registry has no such image" if status in freshness.GONE else reason
    return NotPulled(text or f"the registry answers with status {status}", kind=kind, retry_after_s=retry_after_s)


def _unmatched(reference: Reference, platform: str) -> NotPulled:
    return NotPulled(f"no matching manifest for {platform} in {reference.short}", kind=Kind.PERMANENT)


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(MAX_DOCUMENT + 1)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotPulled("its manifest is no JSON object", kind=Kind.PERMANENT)
    return found


def _read_if_there(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except (OSError, NotPulled):
        return {}


def _is_index(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("manifests"), list)


def _members(document: Mapping[str, Any], platforms: Collection[str]) -> Iterator[dict[str, Any]]:
    """Give an index's manifests for some platforms."""
    rows = document.get("manifests")
    for row in rows[:MAX_MANIFESTS] if isinstance(rows, list) else ():
        of = row.get("platform") if isinstance(row, dict) else None
        if isinstance(of, dict) and isinstance(row.get("digest"), str):
            parts = (str(of.get(key) or "") for key in ("os", "architecture", "variant"))
            written = "/".join(parts).rstrip("/")
            if any(fits(written, one) for one in platforms):
                yield row


def _blobs(document: Mapping[str, Any]) -> dict[str, int]:
    """Give a manifest's blobs with their sizes; layers that lie elsewhere (``urls``) are nobody's to warm."""
    layers = document.get("layers")
    rows = [document.get("config"), *(layers if isinstance(layers, list) else ())]
    if len(rows) > MAX_BLOBS:
        raise NotPulled(f"its manifest has more than {MAX_BLOBS} layers", kind=Kind.PERMANENT)
    found = {}
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("digest"), str) and not row.get("urls"):
            size = row.get("size")
            found[row["digest"]] = size if isinstance(size, int) and size >= 0 else 0
    return found


def _named(document: Mapping[str, Any]) -> list[str]:
    """Give every digest that a manifest or index names."""
    rows = [document.get("config"), *(document.get("layers") or ()), *(document.get("manifests") or ())]
    return [row["digest"] for row in rows if isinstance(row, dict) and isinstance(row.get("digest"), str)]


def _sound(path: Path, entry: Entry) -> bool:
    """Whether a stored file is what its digest says."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == entry.digest
    except FileNotFoundError:
        return False
