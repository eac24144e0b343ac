"""The paths of a registry, below ``/v2/``: names, tags, digests. PURE.

OCI distribution specification 1.1, "Pulling manifests", and the reference grammar it takes over from Docker. A name may
have any number of components; what it is asked for is in the last two segments, so that a component may be called
``manifests`` or ``tags`` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MANIFESTS, BLOBS, TAGS, REFERRERS = "manifests", "blobs", "tags", "referrers"
MAX_NAME = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+", re.ASCII)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_SHA512 = re.compile(r"sha512:[0-9a-f]{128}")
_HINT = (
    "a registry has NAME/manifests/TAG, NAME/manifests/DIGEST, NAME/blobs/DIGEST, NAME/tags/list, NAME/referrers/DIGEST"
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: one of a repository's four kinds. `digest` says whether the reference is one."""

    name: str
    kind: str
    reference: str = ""
    digest: bool = False

    @property
    def path(self) -> str:
        """The path, as it is written."""
        return f"{self.name}/{self.kind}/{self.reference or 'list'}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No such place; `code` is the specification's name for what is wrong (its section "Error codes")."""

    code: str
    reason: str


def read(path: str, namespace: str = "") -> Place | Unreadable:
    """Read a path below ``/v2/``. `namespace` comes before names of a single component (Docker Hub: ``library``)."""
    segments = path.rsplit("/", 2)
    if len(segments) != 3:  # noqa: PLR2004 - a name and two more
        return Unreadable("UNSUPPORTED", _HINT)
    name, kind, reference = segments
    if kind not in {MANIFESTS, BLOBS, TAGS, REFERRERS} or (kind == TAGS and reference != "list"):
        return Unreadable("UNSUPPORTED", _HINT)
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        text = f"{name[:80]!r} is no name: lower-case letters and digits, with single separators between, at most 255"
        return Unreadable("NAME_INVALID", text)
    if namespace and "/" not in name:
        name = f"{namespace}/{name}"
    if kind == TAGS:
        return Place(name, kind)
    return _referred(name, kind, reference)


def _referred(name: str, kind: str, reference: str) -> Place | Unreadable:
    if _SHA256.fullmatch(reference):
        return Place(name, kind, reference, digest=True)
    if _SHA512.fullmatch(reference):
        return Unreadable("UNSUPPORTED", "what is named by its sha512 is not served: this pond names content by sha256")
    if ":" in reference or kind != MANIFESTS:
        shape = "sha256: and 64 lower-case hexadecimal digits"
        known = "another algorithm than sha256" if _DIGEST.fullmatch(reference) else "no digest"
        return Unreadable("DIGEST_INVALID", f"{reference[:80]!r} is {known}; write {shape}")
    if not _TAG.fullmatch(reference):
        text = (
            f"{reference[:80]!r} is no tag: at most 128 letters, digits, '_', '.', '-', the first none of '.' and '-'"
        )
        return Unreadable("MANIFEST_INVALID", text)
    return Place(name, kind, reference)
