"""XML read as it comes, with nothing in it that could be dangerous. PURE.

Expat is used as it is, since defusedxml's parsers pass each element through layers of Python, which takes three times
as long for a primary.xml of 150 MB. What defusedxml forbids is forbidden here by the same means: there is no document
type, and so there are no entities of its own, no external ones, nothing to expand (XXE, billion laughs). Depth, names,
the size of a tag and of a text have limits; the encoding is UTF-8, whatever a document says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from xml.parsers import expat

MAX_DEPTH = 64
MAX_NAMES = 10_000
MAX_TEXT_CHARS = 8192
MAX_TAG_BYTES = 1 << 20


@dataclass(slots=True)
class Element:
    """One element: its attributes, by name, and its text."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


Record: TypeAlias = dict[str, Element]
"""The children of an element by their names; of several with one name the first."""
Start: TypeAlias = Callable[[str, dict[str, str]], None]


def local(name: str) -> str:
    """Give an element's name without its prefix."""
    return name.rpartition(":")[2]


class Reader:
    """Expat, in fetters. Handlers may raise `ValueError`, and so do `feed` and `close`."""

    def __init__(self, start: Start, end: Callable[[str], None], text: Callable[[str], None] | None = None) -> None:
        self._start, self._end = start, end
        self.depth = self._fed = 0
        """How many elements are open."""
        self.level = MAX_DEPTH
        """Elements deeper than this are passed over, at a third of the cost."""
        self._names: dict[str, str] = {}
        self._parser = expat.ParserCreate("UTF-8", None, self._names)
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.CharacterDataHandler = text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._doctype
        self._parser.ExternalEntityRefHandler = self._doctype

    def listen(self, text: Callable[[str], None] | None) -> None:
        """Take the texts from here on; None: pass them over."""
        self._parser.CharacterDataHandler = text

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `ValueError`."""
        self._parse(chunk, last=False)
        self._fed += len(chunk)
        if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_TAG_BYTES + len(chunk):
            raise ValueError(f"it has a tag of more than {MAX_TAG_BYTES} bytes")
        if len(self._names) > MAX_NAMES:
            raise ValueError(f"it has more than {MAX_NAMES} different names")

    def close(self) -> None:
        """End the document. Raises `ValueError` where it has no end."""
        self._parse(b"", last=True)

    def _parse(self, chunk: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise ValueError(f"it is not XML: {error}") from error

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > self.level:
            if self.depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
            return
        self._start(name, attributes)

    def _ended(self, name: str) -> None:
        if self.depth <= self.level:
            self._end(name)
        self.depth -= 1

    def _doctype(self, *_: Any) -> int:
        raise ValueError("it has a document type or entities of its own, which no metadata needs")


class _Records:
    """Collects the wanted children of each element of one name."""

    def __init__(self, root: str, record: str, wanted: frozenset[str]) -> None:
        self._root, self._record, self._wanted = root, record, wanted
        self.reader = Reader(self._start, self._end)
        self.ready: list[Record] = []
        self._open: Record | None = None
        self._at = self._child_at = 0
        self._child: Element | None = None
        self._size = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        depth = self.reader.depth
        if depth == 1 and local(name) != self._root:
            raise ValueError(f"it is no {self._root} document but {local(name)[:40]}")
        if self._open is None:
            if local(name) == self._record:
                self._open, self._at, self._child_at = {}, depth, depth + 1
                self.reader.level = self._child_at
        elif depth == self._child_at and local(name) in self._wanted and local(name) not in self._open:
            self._child = self._open[local(name)] = Element(attributes)
            self._size = 0
            self.reader.listen(self._text)

    def _end(self, _: str) -> None:
        depth = self.reader.depth
        if self._open is None:
            return
        if depth == self._child_at and self._child is not None:
            self._child = None
            self.reader.listen(None)
        elif depth == self._at:
            self.ready.append(self._open)
            self._open = None
            self.reader.level = MAX_DEPTH

    def _text(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT_CHARS:
            raise ValueError(f"it has a text of more than {MAX_TEXT_CHARS} characters")
        if self._child is not None:
            self._child.text += text


def records(pieces: Iterable[bytes], root: str, record: str, *wanted: str) -> Iterator[Record]:
    """Give the wanted children of each element `record` of a document whose outermost element is `root`.

    Names are without prefixes. Raises `ValueError` for what is no such document, or goes beyond a limit.
    """
    found = _Records(root, record, frozenset(wanted))
    for piece in pieces:
        found.reader.feed(piece)
        yield from found.ready
        found.ready.clear()
    found.reader.close()
    yield from found.ready
