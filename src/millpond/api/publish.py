"""Uploads and removals over HTTP: multipart or raw, streamed, never whole in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

from python_multipart.multipart import MultipartParser, parse_options_header

from millpond.api import sending
from millpond.api.artifacts import Repository
from millpond.api.receiving import next_message
from millpond.api.sending import Receive, Send
from millpond.artifacts.model import Target
from millpond.artifacts.policy import Refused
from millpond.artifacts.repository import LocalRepository
from millpond.errors import BadRequest, Denied

MAX_PARTS = 16
FIELD = "file"


class Publisher:
    """Changes local repositories."""

    @staticmethod
    def local(repository: Repository) -> LocalRepository:
        """Give the repository if it takes uploads. Raises `BadRequest`."""
        if not isinstance(repository, LocalRepository):
            raise BadRequest(f"{repository.name} is a {repository.type} repository: uploads go to local ones")
        return repository

    async def change(
        self,
        repository: LocalRepository,
        method: str,
        path: str,
        headers: Mapping[str, str],
        receive: Receive,
        send: Send,
        *,
        caller: str,
    ) -> None:
        """Serve PUT and DELETE of one path; `caller` is the token's name."""
        target = _target(repository, path)
        if method == "DELETE":
            await repository.delete(target)
            await sending.start(send, 204, [])
            await sending.finish(send)
            return
        chunks, length = _body(headers, receive)
        status, entry = await repository.put(target, chunks, length, caller)
        body = json.dumps({"path": entry.path, "digest": entry.digest, "size": entry.size}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await sending.start(send, status, head)
        await sending.finish(send, body)


def _target(repository: LocalRepository, path: str) -> Target:
    found = repository.resolve(path, "", "")
    if isinstance(found, Refused):
        raise Denied(f"refused: {found.rule}")
    if not isinstance(found, Target) or not path or path.endswith("/"):
        raise BadRequest(f"{path!r} is no path of a file")
    return found


def _body(headers: Mapping[str, str], receive: Receive) -> tuple[AsyncIterator[bytes], int | None]:
    """Give the upload's bytes, and how many there are where that is known beforehand."""
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise BadRequest("multipart/form-data without a boundary")
        return _FilePart(boundary).read(_raw(receive)), None
    length = headers.get("content-length", "")
    return _raw(receive), int(length) if length.isdigit() else None


async def _raw(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await next_message(receive)
        if message["type"] == "http.disconnect":
            raise BadRequest("the client left before its upload was complete")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


class _FilePart:
    """Picks the field ``file`` out of a multipart body (RFC 7578) as it streams by."""

    def __init__(self, boundary: bytes) -> None:
        self._out: list[bytes] = []
        self._name = self._value = b""
        self._disposition = b""
        self._parts = self._files = 0
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._ends,
            },
        )
        self._is_file = False

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give the file's bytes. Raises `BadRequest` when there is no such field, or the body is broken."""
        async for chunk in chunks:
            try:
                self._parser.write(chunk)
            except ValueError as error:
                raise BadRequest(f"a broken multipart body: {error}") from error
            out, self._out = self._out, []
            if out:
                yield b"".join(out)
        if not self._complete:
            raise BadRequest("the multipart body ends too early: upload again")
        if self._files != 1:
            raise BadRequest(f"the form needs one field named {FIELD!r} with the file, it has {self._files}")

    def _part_begins(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > MAX_PARTS:
            raise BadRequest(f"more than {MAX_PARTS} form fields")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = options.get(b"name") == FIELD.encode()
        self._files += self._is_file

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._out.append(data[start:end])

    def _ends(self) -> None:
        self._complete = True
