"""HTML cut into tags and text while it arrives (WHATWG HTML, section 13.2.5, as far as an index page needs it). PURE.

The result does not depend on how the document is cut into chunks. What is held is the tag under way, at most `MAX_TAG`
bytes. Comments, declarations other than the doctype, and the content of scripts and their like are dropped: they are
where
two parsers could read two different documents. A document that ends inside a tag was cut off, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import TypeAlias

MAX_TAG = 64 * 1024
_FIRST_RETRY = 4096
_SPACE = rb"[\t\n\f\r ]"
# Atomic groups and possessive repeats: linear time, whatever the input.
_TAG_END = re.compile(rb"(?>[^>=]++|=" + _SPACE + rb"*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])))*+>")
_ATTRIBUTE = re.compile(
    rb"([^\t\n\f\r /=>]++)(?:" + _SPACE + rb"*+=" + _SPACE + rb"*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r >]*+)))?+"
)
_NAME = re.compile(rb"[A-Za-z][^\t\n\f\r />]*+")
_DOCTYPE = re.compile(rb"!doctype[^<>]*", re.IGNORECASE)
# A name without its semicolon is left alone: "&region=" in a signed URL is no registered-sign.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_COMMENT_END = re.compile(rb"--!?>")
RAW = frozenset({b"script", b"style", b"iframe", b"noembed", b"noframes", b"xmp", b"textarea", b"plaintext"})


@dataclass(frozen=True, slots=True)
class Text:
    """Character data as it was written; it holds no ``<``."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """A start tag: its name in lower case, and its attributes (names in lower case, values as they were written)."""

    name: bytes
    attributes: dict[bytes, bytes]

    def value(self, name: bytes) -> str | None:
        """Give an attribute's value, its character references resolved; None: not there."""
        raw = self.attributes.get(name)
        if raw is None:
            return None
        return _REFERENCE.sub(lambda found: unescape(found[0]), raw.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class End:
    """An end tag, in lower case."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Doctype:
    """The document type declaration, without its angle brackets."""

    data: bytes


Event: TypeAlias = Text | Start | End | Doctype


class Tokenizer:
    """Cuts one document; `feed` gives what is complete. Raises `ValueError` for a tag longer than `MAX_TAG`."""

    def __init__(self) -> None:
        self._held = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._raw = b""
        self._comment = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes."""
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size < self._wanted:  # a tag under way is looked at again when it has doubled: linear time
            return []
        return self._cut()

    def close(self) -> list[Event]:
        """Give the rest. Raises `ValueError` when the document ends inside a tag, a comment or a script."""
        events = self._cut()
        if self._raw or self._comment or self._held:
            raise ValueError("the page is cut off: it ends inside a tag, a comment or a script")
        return events

    def _cut(self) -> list[Event]:
        data = self._held + b"".join(self._parts)
        events: list[Event] = []
        at = 0
        while at < len(data):
            after = self._step(data, at, events)
            if after < 0:
                break
            at = after
        self._held = data[at:]
        self._parts.clear()
        self._size = len(self._held)
        self._wanted = max(2 * self._size, _FIRST_RETRY) if self._size > _FIRST_RETRY else 0
        return events

    def _step(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take one piece from `at`; gives where the next begins, -1 when more bytes are needed."""
        if self._raw:
            return self._skip_raw(data, at)
        if self._comment:
            return self._skip_comment(data, at)
        if data[at] != _LESS:
            end = data.find(b"<", at)
            end = len(data) if end < 0 else end
            events.append(Text(data[at:end]))
            return end
        return self._markup(data, at, events)

    def _markup(self, data: bytes, at: int, events: list[Event]) -> int:
        first = data[at + 1 : at + 2]
        if first.isalpha() or (first == b"/" and data[at + 2 : at + 3].isalpha()):
            return self._tag(data, at, events)
        if first in {b"!", b"?", b"/"}:
            return self._declaration(data, at, events)
        if not first:
            return -1
        events.append(Text(b"&lt;"))
        return at + 1

    def _tag(self, data: bytes, at: int, events: list[Event]) -> int:
        closing = data[at + 1] == _SLASH
        name = _NAME.match(data, at + 1 + closing)
        assert name is not None  # noqa: S101 - the caller saw a letter there
        found = _TAG_END.match(data, name.end())
        if (len(data) if found is None else found.end()) - at > MAX_TAG:
            raise ValueError(f"the page has a tag of more than {MAX_TAG} bytes")
        if found is None:
            return -1
        kind = name[0].lower()
        if closing:
            events.append(End(kind))
        else:
            events.append(Start(kind, _attributes(data, name.end(), found.end() - 1)))
            self._raw = kind if kind in RAW else b""
        return found.end()

    def _declaration(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take a comment, a doctype, or what HTML calls a bogus comment: everything up to the next ``>``."""
        start = data[at + 1 : at + 4]
        if start == b"!--":
            self._comment = True
            # "<!-->" is a whole comment: its end may share the dashes.
            return at + 2
        if len(start) < _DECIDES and b">" not in start:
            return -1
        end = data.find(b">", at)
        if (len(data) if end < 0 else end) - at > MAX_TAG:
            raise ValueError(f"the page has a declaration of more than {MAX_TAG} bytes")
        if end < 0:
            return -1
        if _DOCTYPE.fullmatch(data, at + 1, end):
            events.append(Doctype(data[at + 1 : end]))
        return end + 1

    def _skip_comment(self, data: bytes, at: int) -> int:
        found = _COMMENT_END.search(data, at)
        if found is not None:
            self._comment = False
            return found.end()
        return max(at, len(data) - 3) if len(data) - at > _DECIDES else -1

    def _skip_raw(self, data: bytes, at: int) -> int:
        found = re.compile(rb"</" + self._raw + rb"(?=[\t\n\f\r />])", re.IGNORECASE).search(data, at)
        if found is not None and self._raw != b"plaintext":
            self._raw = b""
            return found.start()
        keep = len(self._raw) + _DECIDES
        return len(data) - keep if len(data) - at > keep else -1


_LESS, _SLASH = b"<"[0], b"/"[0]
_DECIDES = 3


def _attributes(data: bytes, begin: int, end: int) -> dict[bytes, bytes]:
    """Read a tag's attributes; of two with one name the first counts, as in browsers."""
    found: dict[bytes, bytes] = {}
    for name, value in _pairs(data, begin, end):
        found.setdefault(name.lower(), value)
    return found


def _pairs(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for match in _ATTRIBUTE.finditer(data, begin, end):
        double, single, bare = match.group(2, 3, 4)
        value = next((one for one in (double, single, bare) if one is not None), b"")
        yield match[1], value
