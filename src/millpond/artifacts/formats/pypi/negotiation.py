"""Which representation of a page a client wants: RFC 9110 section 12.5.1 over the types of PEP 691. PURE.

The highest quality wins; between equals the one that was named more exactly, then JSON if it was named. A client
that names
neither, or nothing, gets HTML: that is what every client from before PEP 691 reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

JSON, HTML = "json", "html"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
PLAIN_TYPE = "text/html"
OFFERED = {
    JSON: (JSON_TYPE, "application/vnd.pypi.simple.latest+json"),
    HTML: (PLAIN_TYPE, HTML_TYPE, "application/vnd.pypi.simple.latest+html"),
}
# A plain text/html first: clients from before PEP 691 refuse a page of the newer type.
UPSTREAM_ACCEPT = {
    JSON: f"{JSON_TYPE}, {HTML_TYPE};q=0.1, {PLAIN_TYPE};q=0.01",
    HTML: f"{PLAIN_TYPE}, {HTML_TYPE};q=0.5",
}
MAX_RANGES = 64
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range; `quality` is in thousandths."""

    kind: str
    quality: int


def choose(query: str, accept: str) -> str:
    """Choose ``json`` or ``html``: what the ``format`` query parameter names (PEP 691), else by the Accept header."""
    asked = _parameter(query)
    for variant, kinds in OFFERED.items():
        if asked in kinds:
            return variant
    ranges = [_range(part) for part in accept.split(",")[:MAX_RANGES] if part.strip()]
    json, html = (max(_rank(kind, ranges) for kind in OFFERED[variant]) for variant in (JSON, HTML))
    if json[0] == 0:
        return HTML
    return JSON if json > html or (json == html and json[1] == _EXACT) else HTML


_NONE, _ANY, _FAMILY, _EXACT = range(4)


def _rank(kind: str, ranges: list[_Range]) -> tuple[int, int]:
    """Give the quality of a type and how exactly it was named: the most specific range that matches decides."""
    family = kind.partition("/")[0] + "/*"
    for exactness, pattern in ((_EXACT, kind), (_FAMILY, family), (_ANY, "*/*")):
        found = [one.quality for one in ranges if one.kind == pattern]
        if found:
            return max(found), exactness
    return 0, _NONE


def _range(text: str) -> _Range:
    kind, *parameters = text.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            value = value.strip()
            # An unreadable quality is the least that is still acceptable.
            return _Range(kind.strip().lower(), round(float(value) * 1000) if _QUALITY.fullmatch(value) else 1)
    return _Range(kind.strip().lower(), 1000)


def _parameter(query: str) -> str:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "format":
            return unquote(value).lower()  # a plus stays a plus: it belongs to the types' names
    return ""
