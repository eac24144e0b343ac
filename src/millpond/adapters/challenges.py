"""What a server asks for in WWW-Authenticate (RFC 9110 section 11.6.1): schemes, each with its parameters.

Several challenges may stand in one field, with commas between them as between parameters, and a quoted value may hold
commas and escaped quotes. What can't be read is passed over, as if it had not been sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_CHARS = 8192
MAX_CHALLENGES = 10
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)', re.ASCII)
_SCHEME = re.compile(rf"\s*({_TOKEN})(?:\s+|\s*,\s*|$)", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?:,|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme (lower case) and its parameters (names in lower case)."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def read(value: str) -> list[Challenge]:
    """Read the field's challenges, in order."""
    found: list[Challenge] = []
    at, text = 0, value[:MAX_CHARS]
    while at < len(text) and len(found) < MAX_CHALLENGES:
        scheme = _SCHEME.match(text, at)
        if scheme is None:
            return found
        at = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(text, at):
            quoted, bare = parameter[2], parameter[3]
            parameters.setdefault(parameter[1].lower(), bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            at = parameter.end()
        if not parameters and (opaque := _TOKEN68.match(text, at)) and "=" in opaque[0]:
            at = opaque.end()  # a single opaque value, as Negotiate has
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
