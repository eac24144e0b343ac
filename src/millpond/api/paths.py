"""Request paths, decoded once. PURE.

A path is accepted only if it survives the round trip: what is authorised, looked up and asked upstream is one and
the same string.
Refused are: bytes that are not UTF-8, control characters, backslashes, ``.`` and ``..`` segments, empty segments,
encoded slashes, and
whatever would mean something else if somebody behind us decoded it once more (CVE-2024-4956, CVE-2023-29159).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from millpond.errors import BadRequest

MAX_PATH_BYTES = 4096
_SCOPE = re.compile(rb"(/@[^/@%]+)%2[fF](?=[^/%])")
_DOT = re.compile(rb"(?<=/)(?:\./)+")
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(r"%(2e|2f|5c|25|00)", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\u0080-\u009f\u2028\u2029\ufeff]")


def with_plain_scopes(raw: bytes) -> bytes:
    """Write the slash of scoped names (``/@scope%2fname``) as one; only for formats whose clients escape it."""
    return _SCOPE.sub(rb"\1/", raw)


def without_dots(raw: bytes) -> bytes:
    """Leave ``.`` segments out; only for formats whose clients write them."""
    return _DOT.sub(b"", raw)


def read_path(raw: bytes) -> str:
    """Decode a raw request path (without its leading slash). Raises `BadRequest` saying what is wrong with it."""
    if len(raw) > MAX_PATH_BYTES:
        raise BadRequest(f"the path is longer than {MAX_PATH_BYTES} bytes")
    if _ESCAPE.search(raw):
        raise BadRequest("the path has a broken percent-escape")
    if b"%2f" in raw.lower():
        raise BadRequest("the path has an encoded slash, which would be read in two ways")
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8") from error
    if _FORBIDDEN.search(path):
        raise BadRequest("the path has a control character or a backslash")
    if _TWICE.search(path):
        raise BadRequest("the path is percent-encoded twice")
    _check_segments(path)
    return path


def _check_segments(path: str) -> None:
    segments = path.split("/")
    if any(segment in {".", ".."} for segment in segments):
        raise BadRequest("the path has a . or .. segment")
    if any(segment == "" for segment in segments[:-1]):
        raise BadRequest("the path has an empty segment")
