"""Which representation of a page a client wants: RFC 9110 section 12.5.1 over the types of PEP 691. PURE.

The highest quality wins; between equals the one that was named more exactly, then JSON if it was named. A client
that names
neither, or nothing, gets HTML: that is what every client from before PEP 691 reads.
"""

from __future__ import annotations

from urllib.parse import unquote

from millpond.artifacts.formats.media import EXACT, ranges, rank

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


def choose(query: str, accept: str) -> str:
    """Choose ``json`` or ``html``: what the ``format`` query parameter names (PEP 691), else by the Accept header."""
    asked = _parameter(query)
    for variant, kinds in OFFERED.items():
        if asked in kinds:
            return variant
    wanted = ranges(accept)
    json, html = (max(rank(kind, wanted) for kind in OFFERED[variant]) for variant in (JSON, HTML))
    if json[0] == 0:
        return HTML
    return JSON if json > html or (json == html and json[1] == EXACT) else HTML


def _parameter(query: str) -> str:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "format":
            return unquote(value).lower()  # a plus stays a plus: it belongs to the types' names
    return ""
