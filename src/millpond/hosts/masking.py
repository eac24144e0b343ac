"""What must not be shown of a release: values whose names say that they are secrets, and passwords in URLs. PURE.

A document holds whatever an app's .env does. It is never shown as it is; what programs say of it (errors, the last
lines of a container) passes through `Mask` first, and is made short only then: half a secret is one too.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from millpond.hosts.commands import MAX_TOLD, brief

MASK = "********"
MIN_SECRET = 4
"""Shorter values occur in any text."""
READ = 16 * MAX_TOLD
"""Characters of a text that are looked at where a line is made of it: control characters are not shown."""
_SECRET = re.compile(
    r"pass|pwd|secret|token|credential|api[-_]?key|access[-_]?key|private|auth|cookie|salt|signing|encrypt|dsn|[-_]key$|^key$|^content$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)([^/@\s:]*):([^/\s]+)@")
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_QUOTED = r"""\"(?:\\.|[^\"\\\n])*\"?|'[^'\n]*'?"""
_NAME = re.compile(r"(?<![\w.-])-{0,2}[A-Za-z_][\w.-]{0,200}")
_VALUE = re.compile(
    rf"""[ \t]*=[ \t]* (?P<word>{_QUOTED}|[^\s"']+)
        |[ \t]+(?!-) (?P<after>{_QUOTED}|[^\s"']+)
        |["']?[ \t]*:[ \t]*(?!//) (?P<rest>{_QUOTED}|[^"'\n]+)""",
    re.VERBOSE,
)
"""Behind a name: ``NAME=value``, ``--option value``, ``Header: value``, in a command line or a line of a file."""


_SCHEME = re.compile(r"(?:bearer|basic|token)[ \t]+(.+)", re.IGNORECASE | re.DOTALL)


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _SECRET.search(name) is not None


def shown(values: Mapping[str, str]) -> dict[str, str]:
    """Give variables for people."""
    return {name: MASK if is_secret(name) else _masked_text(text) for name, text in values.items()}


class Mask:
    """Takes an app's secrets out of texts: whole, line by line, as a shell has them and as compose does."""

    def __init__(self, *values: Any) -> None:
        found = {part for value in values for one in _secrets(value) for part in _parts(one)}
        self._known = sorted(one for one in found if len(one) >= MIN_SECRET)
        self._starts = {one[:MIN_SECRET] for one in self._known}
        self._longest = max(map(len, self._known), default=0)
        self._shorter = _beginnings(self._known)

    def __call__(self, text: str) -> str:
        """Mask one text."""
        return self._masked(text, len(text))

    def brief(self, text: str) -> str:
        """Make a line of a text that can stand in a status or a log, masked before it is cut."""
        return brief(self._masked(text, READ) + ("..." if len(text) > READ else ""))

    def _masked(self, text: str, until: int) -> str:
        """Mask what begins before a place, and leave out what stands behind it."""
        pieces: list[str] = []
        shown_to = 0
        for start, end in self._spans(text, until):
            pieces += [text[shown_to:start], MASK]
            shown_to = end
        pieces.append(text[shown_to : max(until, shown_to)])
        return _USERINFO.sub(rf"\1:{MASK}@", "".join(pieces))

    def _spans(self, text: str, until: int) -> Iterator[tuple[int, int]]:
        """Find where secrets stand; those that overlap are one."""
        start = end = -1
        for at in range(min(until, len(text))):
            length = self._at(text, at)
            if length and at > end:
                if end >= 0:
                    yield start, end
                start = at
            end = max(end, at + length) if length else end
        if end >= 0:
            yield start, end

    def _at(self, text: str, at: int) -> int:
        """Give the length of the longest secret that stands at a place; 0: none does."""
        if text[at : at + MIN_SECRET] not in self._starts:
            return 0
        found = bisect_right(self._known, text[at : at + self._longest]) - 1
        while found >= 0 and not text.startswith(self._known[found], at):
            found = self._shorter[found]
        return len(self._known[found]) if found >= 0 else 0


def _beginnings(known: Sequence[str]) -> list[int]:
    """Give of each of some sorted texts the place of the longest other one that it begins with; -1: there is none.

    Whatever of them stands at the beginning of a text is also at the beginning of the one that is sorted before it.
    """
    places: list[int] = []
    open_: list[int] = []
    for place, one in enumerate(known):
        while open_ and not one.startswith(known[open_[-1]]):
            open_.pop()
        places.append(open_[-1] if open_ else -1)
        open_.append(place)
    return places


def _parts(secret: str) -> Iterator[str]:
    """Give the forms in which a secret may be said: as it is, each of its lines, dollars doubled and not."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
    for line in lines:
        yield from (value for value, _, _ in _written(line))
    scheme = _SCHEME.match(secret)
    for text in (secret, secret.strip(), *lines, *(scheme.groups() if scheme else ())):
        yield text
        yield text.replace("$$", "$")


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    """Find the secrets of a document: values under such names, at any depth, also in lists and command lines."""
    match value:
        case Mapping():
            for key, one in value.items():
                yield from _secrets(one, str(key))
        case list() | tuple():
            for one, of in _listed(value, name):
                yield from _secrets(one, of)
        case str():
            variable, equals, rest = value.partition("=")
            if is_secret(name):
                yield value
            if equals and " " not in variable and is_secret(variable):
                yield rest
            yield from (password for _, password in _USERINFO.findall(value))
            yield from (secret for secret, _, _ in _written(value))
        case int() | float() if is_secret(name) and not isinstance(value, bool):
            yield str(value)


def _listed(values: Iterable[Any], name: str) -> Iterator[tuple[Any, str]]:
    """Give each value of a list with the name that it goes by: of the list, or of the option before it."""
    option = ""
    for one in values:
        plain = isinstance(one, str) and _OPTION.fullmatch(one) is not None
        yield one, name if plain and one.startswith("--") else option or name
        option = str(one) if plain and is_secret(str(one)) else ""


def _written(text: str) -> Iterator[tuple[str, int, int]]:
    """Find secrets that stand in a text behind their names: the value without quotes, and where it stands."""
    at = 0
    while found := _NAME.search(text, at):
        at = found.end()
        value = _VALUE.match(text, at) if is_secret(found[0]) else None
        group = value.lastgroup if value is not None else None
        if value is None or group is None or (group == "after" and not found[0].startswith("-")):
            continue
        at = value.end()
        plain = value[group].strip("\"' \t")
        if plain:
            yield plain, *value.span(group)


def masked(document: Any, name: str = "") -> Any:
    """Give a document for people: secrets masked, at any depth."""
    match document:
        case Mapping():
            return {key: masked(one, str(key)) for key, one in document.items()}
        case list() | tuple():
            return [masked(one, of) for one, of in _listed(document, name)]
        case str():
            return MASK if is_secret(name) else _masked_text(document)
    return MASK if is_secret(name) and document is not None and not isinstance(document, bool) else document


def _masked_text(text: str) -> str:
    variable, equals, _ = text.partition("=")
    if equals and " " not in variable and is_secret(variable):
        return f"{variable}={MASK}"
    pieces: list[str] = []
    shown_to = 0
    for _, start, end in _written(text):
        quote = text[start] if text[start] in "\"'" else ""
        pieces += [text[shown_to:start], quote, MASK, quote]
        shown_to = end
    return _USERINFO.sub(rf"\1:{MASK}@", "".join([*pieces, text[shown_to:]]))
