"""What a well-behaved origin server answers: validators, conditions and ranges (RFC 9110 sections 8.8, 13 and 14).

The fake upstream is right by default, so that only what a test scripts goes wrong. No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from hashlib import sha256

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
OK, PARTIAL, NOT_MODIFIED, UNSATISFIABLE = 200, 206, 304, 416


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; header names in lower case, `at` in epoch seconds.

    `connection` numbers the connections from 1.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    at: float
    connection: int
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query, as it was sent."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, without the question mark."""
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; the length is added when it is sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something to be served. Validators are made from its bytes and its date unless its headers bring their own."""

    body: bytes
    headers: Mapping[str, str]
    status: int = OK

    @staticmethod
    def of(body: bytes, headers: Mapping[str, str], status: int, modified_at: float) -> Resource:
        """Make a resource; a 200 gets ETag and Last-Modified. An empty header value leaves that header out."""
        auto: dict[str, str] = {"content-type": "application/octet-stream"}
        if status == OK:
            auto["etag"] = f'"{sha256(body).hexdigest()[:16]}"'
            auto["last-modified"] = formatdate(modified_at, usegmt=True)
        merged = auto | {name.lower(): value for name, value in headers.items()}
        return Resource(body, {name: value for name, value in merged.items() if value}, status)


def respond(resource: Resource, request: Request) -> Answer:
    """Answer a request for a resource: in full, 304, 206 or 416."""
    if resource.status != OK or request.method not in {"GET", "HEAD"}:
        return Answer(resource.status, resource.headers, resource.body)
    if _unchanged(resource.headers, request.headers):
        kept = {name: value for name, value in resource.headers.items() if name != "content-type"}
        return Answer(NOT_MODIFIED, kept)
    wanted = request.headers.get("range", "")
    if request.method == "GET" and wanted and _same(resource.headers, request.headers.get("if-range", "")):
        return _slice(resource, wanted)
    return Answer(OK, {**resource.headers, "accept-ranges": "bytes"}, resource.body)


def _unchanged(ours: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    tags = asked.get("if-none-match", "")
    if tags:
        known = ours.get("etag", "").removeprefix("W/")
        return any(tag.strip() == "*" or tag.strip().removeprefix("W/") == known != "" for tag in tags.split(","))
    since, modified = _date(asked.get("if-modified-since", "")), _date(ours.get("last-modified", ""))
    return since is not None and modified is not None and modified <= since


def _same(ours: Mapping[str, str], if_range: str) -> bool:
    return not if_range or if_range in {ours.get("etag"), ours.get("last-modified")}


def _slice(resource: Resource, wanted: str) -> Answer:
    match, size = _RANGE.fullmatch(wanted.strip()), len(resource.body)
    if match is None or match.groups() == ("", ""):
        return Answer(OK, resource.headers, resource.body)
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return Answer(UNSATISFIABLE, {"content-range": f"bytes */{size}"})
    headers = {**resource.headers, "content-range": f"bytes {start}-{end}/{size}"}
    return Answer(PARTIAL, headers, resource.body[start : end + 1])


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError):
        return None
