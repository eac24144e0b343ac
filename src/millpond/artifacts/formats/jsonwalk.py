"""A large JSON object taken apart while it arrives: its long lists and objects piece by piece, the rest as is. PURE.

The document must be one object. Of it only the value under way is held: at most `max_element` characters of a list or
object that is watched, `max_value` of anything else. Every value is parsed, so what was cut off or is malformed is
found out. The result does not depend on how the document is cut into chunks. Several formats read their indexes so.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

MAX_ELEMENT = 64 * 1024
MAX_VALUE = 1024 * 1024
_FIRST_RETRY = 4096
_SPACE = " \t\n\r"
_AFTER = frozenset(",]}:" + _SPACE)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a watched list: parsed, and the list's key."""

    key: str
    value: object


@dataclass(frozen=True, slots=True)
class Pair:
    """One member of a watched object: the object's key, the member's own name, and its value, parsed."""

    key: str
    name: str
    value: object


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a key that is not watched."""

    key: str
    value: object


Event: TypeAlias = str | Element | Pair | Value
"""What comes out: text to hand on as it stands (with the values in it), pieces, and what values mean."""
_Steps: TypeAlias = Generator[None, None, None]


class Walk:
    """Takes one document apart. `lists`, `objects`: keys of the outermost object whose values are given in pieces.

    The commas between pieces, and the names of an object's, are not given: whoever writes the value anew puts them.
    Limits are in characters.
    """

    def __init__(
        self,
        lists: frozenset[str] = frozenset(),
        objects: frozenset[str] = frozenset(),
        *,
        max_element: int = MAX_ELEMENT,
        max_value: int = MAX_VALUE,
    ) -> None:
        self._lists, self._objects = lists, objects
        self._max_element, self._max_value = max_element, max_value
        self.seen: set[str] = set()
        """The watched keys that were there."""
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._parts: list[str] = []
        self._text, self._at, self._size, self._wanted = "", 0, 0, 0
        self._ended = False
        self._events: list[Event] = []
        self._steps = self._document()

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes. Raises `ValueError` as soon as it can't be such a document."""
        text = self._decoder.decode(chunk)
        self._parts.append(text)
        self._size += len(text)
        if self._size < self._wanted:  # a value under way is looked at again when it has doubled: linear time
            return []
        return self._advance()

    def close(self) -> list[Event]:
        """Give the rest. Raises `ValueError` when the document is not whole."""
        self._parts.append(self._decoder.decode(b"", final=True))
        self._ended = True
        events = self._advance()
        if self._at < len(self._text):
            raise ValueError("the JSON document is followed by something else")
        return events

    def _advance(self) -> list[Event]:
        self._text = self._text[self._at :] + "".join(self._parts)
        self._parts.clear()
        self._at, self._size = 0, len(self._text)
        next(self._steps, None)
        self._text, self._at = self._text[self._at :], 0
        self._size = len(self._text)
        self._wanted = max(2 * self._size, _FIRST_RETRY) if self._size > _FIRST_RETRY else 0
        events, self._events = self._events, []
        return events

    def _document(self) -> _Steps:
        yield from self._take("{")
        if (yield from self._peek()) == "}":
            yield from self._take("}")
        else:
            yield from self._member()
            while (yield from self._peek()) == ",":
                yield from self._take(",")
                yield from self._member()
            yield from self._take("}")
        while not self._ended:
            self._skip_space()
            yield
        self._skip_space()

    def _member(self) -> _Steps:
        if (yield from self._peek()) != '"':
            raise ValueError("this is no JSON object: a key is missing")
        key, written = yield from self._value(MAX_ELEMENT)
        assert isinstance(key, str)  # noqa: S101 - it began with a quotation mark
        self._events.append(written)
        yield from self._take(":")
        if key in self._lists:
            yield from self._pieces(key, "[]", self._element)
        elif key in self._objects:
            yield from self._pieces(key, "{}", self._pair)
        else:
            value, written = yield from self._value(self._max_value)
            self._events += [written, Value(key, value)]

    def _pieces(self, key: str, brackets: str, take_piece: Callable[[str], _Steps]) -> _Steps:
        first, last = brackets[0], brackets[1]
        if (yield from self._peek()) != first:
            raise ValueError(f"{key!r} is no {'list' if first == '[' else 'object'}")
        self.seen.add(key)
        yield from self._take(first)
        if (yield from self._peek()) != last:
            yield from take_piece(key)
            while (yield from self._peek()) == ",":
                self._at += 1
                yield from take_piece(key)
        yield from self._take(last)

    def _element(self, key: str) -> _Steps:
        value, _ = yield from self._value(self._max_element)
        self._events.append(Element(key, value))

    def _pair(self, key: str) -> _Steps:
        if (yield from self._peek()) != '"':
            raise ValueError(f"{key!r} is no JSON object: a key is missing")
        name, _ = yield from self._value(MAX_ELEMENT)
        assert isinstance(name, str)  # noqa: S101 - it began with a quotation mark
        if (yield from self._peek()) != ":":
            raise ValueError(f"{key!r} is no JSON object: ':' is missing")
        self._at += 1
        value, _ = yield from self._value(self._max_element)
        self._events.append(Pair(key, name, value))

    def _take(self, wanted: str) -> _Steps:
        found = yield from self._peek()
        if found != wanted:
            raise ValueError(
                f"this is no such JSON document: {wanted!r} is missing" + ("" if found else ", it is cut off")
            )
        self._at += 1
        self._events.append(wanted)

    def _peek(self) -> Generator[None, None, str]:
        """Give the next character that is no white space; empty: there is none."""
        while True:
            self._skip_space()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            yield

    def _skip_space(self) -> None:
        text, at, end = self._text, self._at, len(self._text)
        while at < end and text[at] in _SPACE:
            at += 1
        self._at = at

    def _value(self, limit: int) -> Generator[None, None, tuple[object, str]]:
        """Take one value of at most `limit` characters; gives it and how it was written."""
        yield from self._peek()
        while True:
            value, end = self._parsed()
            # Something always follows a value here; before it comes, a number could go on ("0" of "0.5").
            whole = end >= 0 and self._text[end : end + 1] in _AFTER
            if (end if whole else len(self._text)) - self._at > limit:
                raise ValueError(f"the JSON document has a value of more than {limit} characters, or is malformed")
            if whole:
                written = self._text[self._at : end]
                self._at = end
                return value, written
            if self._ended:
                raise ValueError("the JSON document is malformed, or cut off")
            yield

    def _parsed(self) -> tuple[object, int]:
        try:
            return _DECODER.raw_decode(self._text, self._at)
        except RecursionError as error:
            raise ValueError("the JSON document is nested too deeply") from error
        except ValueError:
            return None, -1
