"""An app's ``.env``, read as compose reads it, for stacks: `docker stack` knows the process's environment only. PURE.

What compose would read in a way that surprises (a bare name, an unquoted backslash before a dollar, an expression
within another) is refused with its line. A variable that is not set is a mistake here, not an empty string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

MAX_BYTES = 256 * 1024
MAX_VALUE = 64 * 1024
MAX_VALUES = 1 << 20
"""Characters of all values together, as often as they are set: a program takes no more of them (execve(2))."""
_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_SKIPPED = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)|[ \t]+")
_REST = re.compile(r"[ \t]*(?:[ \t]#[^\n]*)?(?=\n|\Z)")
_USE = re.compile(
    r"\$(?:(?P<twice>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?+])(?P<what>[^${}]*))?\}|(?P<wrong>))"
)
_PIECE = re.compile(r"(?P<escape>\\.)|(?P<plain>[^\\]+)", re.DOTALL)
_ESCAPES: Mapping[str, str] = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class Wrong(ValueError):
    """What can't be read; the text has the line, and never a value."""


def read(text: str, over: Mapping[str, str]) -> dict[str, str]:
    """Give the variables. `over` wins over the file (``--set``), also where that refers to them. Raises `Wrong`."""
    if len(text) > MAX_BYTES:
        raise Wrong(f"longer than {MAX_BYTES} characters: that is no .env")
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    found: dict[str, str] = dict(over)
    at = counted = total = 0
    line = 1
    while at < len(text):
        skipped = _SKIPPED.match(text, at)
        if skipped is not None and skipped.end() > at:
            at = skipped.end()
            continue
        line += text.count("\n", counted, at)
        counted = at
        name = _NAME.match(text, at)
        if name is None:
            raise Wrong(f"line {line}: not NAME=VALUE")
        value, at = _value(text, name.end(), _Variables(found, line, name[1]), line)
        if len(value) > MAX_VALUE or "\0" in value:
            raise Wrong(_too_long(name[1], line))
        total += len(value)
        if total > MAX_VALUES:
            raise Wrong(f"line {line}: the values up to here have more than {MAX_VALUES} characters")
        found[name[1]] = over.get(name[1], value)
    return found


def _too_long(name: str, line: int) -> str:
    return f"line {line}: {name} has a NUL byte, or more than {MAX_VALUE} characters"


class _Variables:
    """Gives what variables stand for within one value, which may not become too long by that."""

    def __init__(self, found: Mapping[str, str], line: int, name: str) -> None:
        self._found, self._line, self._name, self._left = found, line, name, MAX_VALUE

    def __call__(self, used: re.Match[str]) -> str:
        given = _looked_up(used, self._found, self._line, self._name)
        self._left -= len(given)
        if self._left < 0:
            raise Wrong(_too_long(self._name, self._line))
        return given


def _value(text: str, at: int, look_up: Callable[[re.Match[str]], str], line: int) -> tuple[str, int]:
    """Read one value; gives it, and where it ends."""
    quote = text[at : at + 1]
    if quote not in {"'", '"'}:
        raw = re.compile(r"[^\n]*").match(text, at)
        rest = raw[0] if raw else ""
        plain = re.split(r"[ \t]#", rest, maxsplit=1)[0].strip()
        if "\\$" in plain:
            raise Wrong(f"line {line}: a backslash does not take the meaning from a $ here; write $$, or quote it")
        return _USE.sub(look_up, plain), at + len(rest)
    end = _closing(text, at + 1, quote, line)
    after = _REST.match(text, end + 1)
    if after is None:
        raise Wrong(f"line {line}: something stands behind the closing quote")
    inner = text[at + 1 : end]
    if quote == "'":
        return inner, after.end()
    pieces = (_piece(piece, look_up, line) for piece in _PIECE.finditer(inner))
    return "".join(pieces), after.end()


def _closing(text: str, at: int, quote: str, line: int) -> int:
    while at < len(text) and text[at] != quote:
        if text[at] == "\\":
            if quote == "'" and text[at + 1 : at + 2] == "'":
                raise Wrong(f"line {line}: a quote within single quotes; use double ones")
            at += quote == '"'
        at += 1
    if at >= len(text):
        raise Wrong(f"line {line}: the closing quote is missing")
    return at


def _piece(piece: re.Match[str], look_up: Callable[[re.Match[str]], str], line: int) -> str:
    if piece["plain"] is not None:
        return _USE.sub(look_up, piece["plain"])
    meaning = _ESCAPES.get(piece["escape"][1])
    if meaning is None:
        raise Wrong(f"line {line}: a backslash begins no escape that is known in double quotes; use single ones")
    return meaning


def _looked_up(used: re.Match[str], found: Mapping[str, str], line: int, of: str) -> str:
    """Give what stands for a use of a variable in the value `of` another. One that is not set may be part of it."""
    if used["twice"]:
        return "$"
    if used["wrong"] is not None:
        raise Wrong(f"line {line}: a $ that begins no variable; write $$, or use single quotes")
    name, how, what = used["bare"] or used["name"], used["how"] or "", used["what"] or ""
    value = found.get(name)
    given = value is not None and (bool(value) or not how.startswith(":"))
    match how[-1:]:
        case "-":
            return value or "" if given else what
        case "+":
            return what if given else ""
    if not given:
        uses = f"the value of {of} uses a variable that is not set"
        raise Wrong(f"line {line}: {uses}; a $ in a value: use single quotes")
    return value or ""


def missing(scalar: str, known: Mapping[str, str]) -> list[str]:
    """Name the variables that a text of a compose or stack file uses and that are neither set nor have a default."""
    uses = (used for used in _NEEDED.finditer(scalar) if not used["twice"])
    return [name for used in uses if (name := used["bare"] or used["name"]) and name not in known]


_NEEDED = re.compile(
    r"\$(?:(?P<twice>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\}|:?\?))"
)
