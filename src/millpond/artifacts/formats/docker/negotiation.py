"""Which forms of a manifest a client takes (RFC 9110 section 12.5.1, and what registries make of it). PURE.

A registry may answer one tag with an index or with one platform's manifest, in Docker's form or OCI's, depending on
Accept. The many ways to write the same wish come down to a variant: the set of forms that the client takes, in a fixed
order. Who takes anything, or names none of them, takes all.
"""

from __future__ import annotations

import re

FORMS = {
    "index": "application/vnd.oci.image.index.v1+json",
    "list": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "v2": "application/vnd.docker.distribution.manifest.v2+json",
}
"""The forms by the names they have in variants."""
INDEX = FORMS["index"]
ALL = "+".join(FORMS)
_ANY = {"*/*", "application/*"}
_ZERO = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)
_MAX_CHARS, _MAX_TYPES = 8192, 200


def variant_of(accept: str) -> str:
    """Give the variant that an Accept header asks for."""
    wanted = {
        part.partition(";")[0].strip().lower()
        for part in accept[:_MAX_CHARS].split(",")[:_MAX_TYPES]
        if not _ZERO.search(part)
    }
    taken = "+".join(form for form, kind in FORMS.items() if kind in wanted)
    return ALL if not taken or wanted & _ANY else taken


def accept_of(variant: str) -> str:
    """Write the Accept header that asks an upstream for a variant."""
    return ", ".join(FORMS[form] for form in variant.split("+"))


def others(variant: str) -> tuple[str, ...]:
    """List all other variants, those with most forms first."""
    names = tuple(FORMS)
    sets = ["+".join(name for at, name in enumerate(names) if bits >> at & 1) for bits in range(1, 1 << len(names))]
    return tuple(one for one in sorted(sets, key=lambda one: -one.count("+")) if one != variant)


def takes(variant: str, content_type: str) -> bool:
    """Whether who asked for a variant reads a document of that type."""
    kind = content_type.partition(";")[0].strip().lower()
    return any(FORMS[form] == kind for form in variant.split("+"))
