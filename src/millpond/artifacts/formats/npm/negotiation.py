"""Which form of a packument a client wants (npm's registry documents, "package-metadata"). PURE.

``abbreviated`` has what an install needs; it is given to who names its type and likes it no less than plain JSON.
Everybody else gets the ``full`` form. The two are variants of one path, each with validators of its own.
"""

from __future__ import annotations

from millpond.artifacts.formats.media import EXACT, ranges, rank

FULL, ABBREVIATED = "full", "abbreviated"
FULL_TYPE, ABBREVIATED_TYPE = "application/json", "application/vnd.npm.install-v1+json"
# Registries that have the full form only answer with that: it is what the variant holds then.
UPSTREAM_ACCEPT = {FULL: FULL_TYPE, ABBREVIATED: f"{ABBREVIATED_TYPE}; q=1.0, {FULL_TYPE}; q=0.8, */*"}


def choose(accept: str) -> str:
    """Choose the form by the Accept header."""
    wanted = ranges(accept)
    abbreviated, exactness = rank(ABBREVIATED_TYPE, wanted)
    full, _ = rank(FULL_TYPE, wanted)
    return ABBREVIATED if exactness == EXACT and abbreviated and abbreviated >= full else FULL
