"""Conditional and range requests: RFC 9110 sections 13 and 14. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from millpond.artifacts.answer import Head

_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')
_RANGE = re.compile(r"^\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Whole:
    """200: everything."""


@dataclass(frozen=True, slots=True)
class NotModified:
    """304."""


@dataclass(frozen=True, slots=True)
class Failed:
    """412."""


@dataclass(frozen=True, slots=True)
class Part:
    """206: bytes `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416."""


Selection: TypeAlias = Whole | NotModified | Failed | Part | Unsatisfiable


def precondition(headers: Mapping[str, str], head: Head) -> NotModified | Failed | None:
    """Evaluate If-Match, If-None-Match and If-Modified-Since, in RFC 9110's order (section 13.2.2).

    A client that gives the time of its own download (apk does) may have got older bytes from here after the upstream
    made these: a time that is not Last-Modified itself counts only from when these came to hand.
    """
    if "if-match" in headers and not _matches(headers["if-match"], head.tags, weak=False):
        return Failed()
    if "if-none-match" in headers:
        return NotModified() if _matches(headers["if-none-match"], head.tags, weak=True) else None
    since = _date(headers.get("if-modified-since", ""))
    changed = _date(head.last_modified)
    if since is None or changed is None:
        return None
    return NotModified() if since == changed or since >= max(changed, head.held_since) else None


def wants_range(headers: Mapping[str, str], head: Head) -> bool:
    """Say whether a Range header is to be heeded: one range, in bytes, and If-Range (section 13.1.5) agrees."""
    if not _RANGE.match(headers.get("range", "")):
        return False
    condition = headers.get("if-range", "").strip()
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return condition in head.tags
    return bool(head.last_modified) and condition == head.last_modified


def select_range(value: str, size: int) -> Part | Whole | Unsatisfiable:
    """Read a single byte range against a known size (section 14.1.2)."""
    match = _RANGE.match(value)
    if match is None or match.group(1) == match.group(2) == "":
        return Whole()
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
        return Part(start, end) if int(last) > 0 and size > 0 else Unsatisfiable()
    start = int(first)
    end = size if last == "" else min(int(last) + 1, size)
    if last != "" and int(last) < start:
        return Whole()
    return Part(start, end) if start < size else Unsatisfiable()


def _matches(value: str, tags: tuple[str, ...], *, weak: bool) -> bool:
    if value.strip() == "*":
        return True
    return any(match.group(2) in tags and (weak or not match.group(1)) for match in _TAG.finditer(value))


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
