"""What must not be shown of a release: values whose names say that they are secrets, and passwords in URLs. PURE.

A document holds whatever an app's .env does. It is never shown as it is; what programs say of it (errors, the last
lines of a container) passes through `Mask` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "********"
MIN_SECRET = 4
"""Shorter values occur in any text."""
_SECRET = re.compile(
    r"pass|pwd|secret|token|credential|api[-_]?key|access[-_]?key|private|auth|cookie|salt|signing|encrypt|dsn|[-_]key$|^key$|^content$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]+)@")


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _SECRET.search(name) is not None


def shown(values: Mapping[str, str]) -> dict[str, str]:
    """Give variables for people."""
    return {name: MASK if is_secret(name) else _USERINFO.sub(rf"\1:{MASK}@", text) for name, text in values.items()}


class Mask:
    """Takes an app's secrets out of texts."""

    def __init__(self, *values: Any) -> None:
        found = {one for value in values for one in _secrets(value)}
        plain = {text.replace("$$", "$") for text in found} | found
        longest_first = sorted((one for one in plain if len(one) >= MIN_SECRET), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Mask one text."""
        text = _USERINFO.sub(rf"\1:{MASK}@", text)
        return self._pattern.sub(MASK, text) if self._pattern else text


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    """Find the secrets of a document: values under such names, at any depth, and passwords in URLs.

    Variables of the form ``NAME=value`` in a list count too.
    """
    match value:
        case Mapping():
            for key, one in value.items():
                yield from _secrets(one, str(key))
        case list() | tuple():
            yield from _listed(value, name)
        case str():
            if is_secret(name):
                yield value
            yield from (password for _, password in _USERINFO.findall(value))
        case int() | float() if is_secret(name) and not isinstance(value, bool):
            yield str(value)


def _listed(values: Iterable[Any], name: str) -> Iterator[str]:
    for one in values:
        variable, equals, rest = one.partition("=") if isinstance(one, str) else ("", "", "")
        yield from _secrets(rest, variable) if equals else _secrets(one, name)


def masked(document: Any, name: str = "") -> Any:
    """Give a document for people: secrets masked, at any depth."""
    match document:
        case Mapping():
            return {key: masked(one, str(key)) for key, one in document.items()}
        case list():
            return [masked(one, name) for one in document]
        case str():
            return _masked_text(document, name)
    return MASK if is_secret(name) and document is not None and not isinstance(document, bool) else document


def _masked_text(text: str, name: str) -> str:
    variable, equals, _ = text.partition("=")
    if is_secret(name):
        return MASK
    if equals and " " not in variable and is_secret(variable):
        return f"{variable}={MASK}"
    return _USERINFO.sub(rf"\1:{MASK}@", text)
