"""Artifacts over HTTP, plain ASGI: one answer of a repository to one response (RFC 9110, 9111, 9211)."""

from __future__ import annotations

import contextlib
import math
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from millpond.api import sending
from millpond.api.conditional import (
    NotModified,
    Part,
    Selection,
    Unsatisfiable,
    Whole,
    precondition,
    select_range,
    wants_range,
)
from millpond.api.manners import PROBLEMS, Manner
from millpond.api.sending import OpenFile, Receive, Send
from millpond.artifacts.answer import LOCAL, MISS, SOURCES, Answer, Head, hit_status
from millpond.artifacts.catalog import stamp_key
from millpond.artifacts.flights import Flight
from millpond.artifacts.formats.base import Format
from millpond.artifacts.hits import Hit, Hits, UsageLog
from millpond.artifacts.model import Absent, Moved, Target, Use
from millpond.artifacts.policy import Refused
from millpond.artifacts.spool import Aborted
from millpond.clock import Clock
from millpond.metrics import Metrics

OCTETS = "application/octet-stream"
_TYPES = {
    ".rpm": "application/x-rpm",
    ".xml": "application/xml",
    ".deb": "application/vnd.debian.binary-package",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".txt": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".asc": "application/pgp-signature",
}


class Repository(Protocol):
    """What both kinds of repository give."""

    @property
    def format(self) -> Format:
        """What it holds."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def type(self) -> str:
        """``remote`` or ``local``."""

    def resolve(self, path: str, query: str, accept: str) -> Target | Moved | Absent | Refused:
        """Read a path."""

    async def get(self, target: Target, mount: str) -> Answer:
        """Answer for a target."""

    async def missing(self, target: Target) -> None:
        """Take note that the stored file of a target is gone."""


_ACTIVE = {
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "application/javascript",
    "text/javascript",
    "application/xml",
    "text/xml",
}


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that an artifact's answer depends on; `headers` in lower case, `mount` absolute."""

    method: str
    headers: Mapping[str, str]
    path: str
    query: str
    mount: str
    token: str = ""
    attachment: bool = False
    target: bytes = b""
    """The raw request target, as it came; empty: its answers are not remembered."""
    manner: Manner = PROBLEMS


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the two ends of its connection.

    `zero_copy`: whether the server takes ``http.response.zerocopysend``.
    """

    request: Request
    receive: Receive
    send: Send
    zero_copy: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactServer:
    """Serves artifacts of any repository."""

    usage: UsageLog
    metrics: Metrics
    clock: Clock
    hits: Hits

    async def serve(self, repository: Repository, exchange: Exchange) -> None:
        """Answer GET or HEAD for one path of one repository."""
        request = exchange.request
        found = repository.resolve(request.path, request.query, request.headers.get("accept", ""))
        match found:
            case Moved(path):
                location = f"{request.mount}/{quote(path)}".encode()
                await sending.start(exchange.send, 301, [(b"location", location), (b"content-length", b"0")])
                await sending.finish(exchange.send)
            case Absent(reason):
                await self.refuse(repository.name, 404, reason, exchange)
            case Refused(rule):
                await self.refuse(repository.name, 403, f"refused: {rule}", exchange)
            case Target():
                await self._serve_target(repository, found, exchange)

    async def refuse(
        self, repository: str, status: int, reason: str, exchange: Exchange, *more: tuple[bytes, bytes]
    ) -> None:
        """Answer with an error, in the client's own manner."""
        self.metrics.refused(repository, status)
        manner = exchange.request.manner
        told = manner.refusal(status, reason, repository, exchange.request.path)
        dressed = [(key.encode(), value.encode()) for key, value in manner.headers(Head()).items() if value]
        length = str(len(told.body)).encode()
        headers = [(b"content-type", told.content_type.encode()), (b"content-length", length), *dressed, *more]
        await sending.start(exchange.send, told.status, headers)
        await sending.finish(exchange.send, b"" if exchange.request.method == "HEAD" else told.body)

    async def _serve_target(self, repository: Repository, target: Target, exchange: Exchange) -> None:
        slot = self.hits.slot(stamp_key(repository.name, target.path))
        stamp = self.hits.stamp(slot)
        answer, file = await self._opened(repository, target, exchange.request.mount)
        try:
            if answer.status == 200:  # noqa: PLR2004 - OK
                await self._respond(repository, answer, file, exchange)
                self._remember(repository.name, answer, exchange.request, slot, stamp)
            else:
                await self._refusal(repository, answer, exchange)
        except (Aborted, sending.Gone):
            return  # the response stays unfinished: the server closes the connection
        finally:
            answer.close()
            if file is not None:
                file.close()

    async def _opened(self, repository: Repository, target: Target, mount: str) -> tuple[Answer, OpenFile | None]:
        """Get an answer whose file is open; one evicted between the look-up and here is fetched anew."""
        for _ in range(2):
            answer = await repository.get(target, mount)
            if not isinstance(answer.body, Path):
                return answer, None
            with contextlib.suppress(FileNotFoundError):
                file = OpenFile(answer.body)
                if answer.head.size in {None, file.size}:
                    return answer, file
                file.close()  # cut short by a power failure, or tampered with
            await repository.missing(target)
        return Answer(502, MISS, reason="its stored file is gone: ask again, or run `millpond fsck`"), None

    async def _refusal(self, repository: Repository, answer: Answer, exchange: Exchange) -> None:
        more = [(b"cache-status", f"millpond; {answer.cache_status}".encode())] if answer.cache_status else []
        more += self.retry_after(answer.retry_after_s)
        await self.refuse(repository.name, answer.status, answer.reason, exchange, *more)

    @staticmethod
    def retry_after(wait_s: float | None) -> list[tuple[bytes, bytes]]:
        """Write the Retry-After header, where there is something to say."""
        return [] if wait_s is None else [(b"retry-after", str(max(math.ceil(wait_s), 1)).encode())]

    async def _respond(self, repository: Repository, answer: Answer, file: OpenFile | None, exchange: Exchange) -> None:
        request, send = exchange.request, exchange.send
        headers = self._headers(answer, request)
        condition = precondition(request.headers, answer.head)
        if condition is not None:
            await self._without_body(304 if isinstance(condition, NotModified) else 412, headers, send)
            if isinstance(condition, NotModified):
                self.metrics.served(repository.name, answer.outcome, 0)
            return
        size = file.size if file is not None else answer.head.size
        chosen: Selection = Whole()
        ranged = request.method == "GET" and answer.rewriter is None and wants_range(request.headers, answer.head)
        if ranged or (request.method == "HEAD" and request.manner.exact and answer.rewriter is None):
            try:
                size = await _known_size(answer, size)
            except Aborted as error:  # nothing was promised yet: it can be said in words
                await self.refuse(repository.name, 502, str(error), exchange)
                return
            chosen = select_range(request.headers["range"], size) if ranged else Whole()
        if isinstance(chosen, Unsatisfiable):
            await self._without_body(416, [*headers, (b"content-range", f"bytes */{size}".encode())], send)
            self.metrics.served(repository.name, answer.outcome, 0)
            return
        begin, end = (chosen.start, chosen.end) if isinstance(chosen, Part) else (0, size)
        status = 206 if isinstance(chosen, Part) else 200
        if isinstance(chosen, Part):
            headers.append((b"content-range", f"bytes {begin}-{chosen.end - 1}/{size}".encode()))
        if end is not None:
            headers.append((b"content-length", str(end - begin).encode()))
        await sending.start(send, status, headers)
        if request.method == "HEAD":
            await sending.finish(send)
            self.metrics.served(repository.name, answer.outcome, 0)
            return
        sent = await self._body(answer, file, (begin, end), exchange)
        self._note(repository, answer, request, sent)

    async def _body(
        self, answer: Answer, file: OpenFile | None, region: tuple[int, int | None], exchange: Exchange
    ) -> int:
        begin, end = region
        if file is None:
            pieces = sending.arriving_pieces(answer, begin, end, regions=exchange.zero_copy)
            return await sending.send_pieces(pieces, exchange.receive, exchange.send)
        stop = file.size if end is None else end
        small = file.small(begin, stop)
        if small is not None:
            await sending.finish(exchange.send, small)
            return len(small)
        parts = file.regions(begin, stop) if exchange.zero_copy else file.pieces(begin, stop)
        return await sending.send_pieces(parts, exchange.receive, exchange.send)

    async def _without_body(self, status: int, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        if status != 304:  # noqa: PLR2004 - Not Modified has no length of its own
            headers.append((b"content-length", b"0"))
        await sending.start(send, status, headers)
        await sending.finish(send)

    def _remember(self, repository: str, answer: Answer, request: Request, slot: int, stamp: int) -> None:
        """Let the fast lane give this answer from now on, while it stands."""
        if not request.target or request.method != "GET" or not answer.fresh_until or not isinstance(answer.body, Path):
            return
        if answer.head.next_page:  # its Link depends on where it was asked
            return
        key = (request.target, request.headers.get("accept", "").encode("latin-1"), _host(request))
        hit = Hit(
            repository=repository,
            path=answer.path,
            digest=answer.head.digest or "",
            outcome=answer.outcome,
            file=answer.body,
            size=answer.head.size or 0,
            tag=answer.head.tags[0].encode("latin-1"),
            slot=slot,
            stamp=stamp,
            fresh_until=answer.fresh_until,
            varied=bool(answer.vary),
            lines=lambda now: self._lines(answer, request, now),
        )
        self.hits.remember(key, hit)

    def _lines(self, answer: Answer, request: Request, now: float) -> bytes:
        """Write the header lines of a remembered answer as they are at a time."""
        answer.age_s = max(now - answer.validated_at, 0.0)
        answer.cache_status = hit_status(answer.fresh_until, now)
        return b"".join(b"%b: %b\r\n" % pair for pair in self._headers(answer, request))

    def _headers(self, answer: Answer, request: Request) -> list[tuple[bytes, bytes]]:
        head = answer.head
        named = {
            "content-type": content_type(head.content_type, answer.path, by_suffix=request.attachment),
            "accept-ranges": "bytes" if answer.rewriter is None else "none",
            "etag": head.tags[0] if head.tags else "",
            "last-modified": head.last_modified,
            "content-encoding": head.content_encoding,
            "age": str(int(answer.age_s)),
            "cache-status": f"millpond; {answer.cache_status}",
            "x-artifact-source": SOURCES[answer.outcome],
            "x-artifact-size": "" if head.size is None else str(head.size),
            "x-content-type-options": "nosniff",
            "vary": answer.vary,
            "warning": '199 - "stored unchecked: its index could not be had"' if answer.unchecked else "",
        }
        if active_content(named["content-type"]):
            named["content-security-policy"] = "default-src 'none'; sandbox"
        if request.attachment:
            named["content-disposition"] = disposition(answer.path)
        named.update(request.manner.headers(head))
        return [(key.encode(), value.encode("latin-1", "replace")) for key, value in named.items() if value]

    def _note(self, repository: Repository, answer: Answer, request: Request, sent: int) -> None:
        self.metrics.served(repository.name, answer.outcome, sent)
        digest = answer.head.digest or _landed_digest(answer) or ""
        outcome = LOCAL if repository.type == "local" else answer.outcome
        now = self.clock.now()
        self.usage.note(Use(now, repository.name, answer.path, digest, request.token, outcome, sent))


def content_type(told: str, path: str, *, by_suffix: bool) -> str:
    """Give an answer's type: what the upstream told, or (contract's own URLs, uploads) what the suffix says."""
    if told and not by_suffix:
        return told
    name = path.partition("?")[0].lower()
    suffix = "." + name.rpartition(".")[2]
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix) or OCTETS


def active_content(kind: str) -> bool:
    """Whether a browser would run what is in it: such artifacts are served in a sandbox (CVE-2021-37152)."""
    return kind.partition(";")[0].strip().lower() in _ACTIVE


def disposition(path: str) -> str:
    """Write Content-Disposition (RFC 6266) with a name that can't leave its quotes."""
    name = path.partition("?")[0].rstrip("/").rpartition("/")[2] or "download"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    extended = f"; filename*=UTF-8''{quote(name, safe='')}" if plain != name else ""
    return f'attachment; filename="{plain}"{extended}'


def http_date(at: float) -> str:
    """Write a date as HTTP does."""
    return formatdate(at, usegmt=True)


def _host(request: Request) -> bytes:
    return request.headers.get("host", "").encode("latin-1")


async def _known_size(answer: Answer, size: int | None) -> int:
    """Wait for the end of a body of unknown length: a range needs the whole. Raises `Aborted`."""
    if size is not None:
        return size
    assert isinstance(answer.body, Flight)  # noqa: S101 - stored answers know their size
    await answer.body.ended()
    tape = answer.body.tape
    if tape is None or not tape.done:
        reason = getattr(answer.body.outcome, "reason", "")
        raise Aborted(reason or "the fetch did not complete: ask again")
    return tape.limit


def _landed_digest(answer: Answer) -> str | None:
    outcome = answer.body.outcome if isinstance(answer.body, Flight) else None
    entry = getattr(outcome, "entry", None)
    return entry.digest if entry is not None else None
