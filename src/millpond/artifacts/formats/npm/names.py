"""Names by grammar: packages, versions and tags, tarballs, and the digests of their bytes. PURE.

What is no name here never becomes a path, a key or a link of the pond. Packages are named as ``validate-npm-package-
name`` has it for those that exist already (it is laxer than for new ones); their names keep their case.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from millpond.artifacts.model import Checksum

MAX_NAME, MAX_VERSION, MAX_FILE = 214, 256, 512
MAX_DIGESTS = 16
_PART = r"[A-Za-z0-9~!*'()-][A-Za-z0-9._~!*'()-]*"
_PACKAGE = re.compile(rf"(?:@{_PART}/)?{_PART}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_TARBALL = re.compile(r"[A-Za-z0-9~!*'()-][A-Za-z0-9._+~!*'()-]*\.(?:tgz|tar\.gz)", re.ASCII)
_SRI = re.compile(r"(sha1|sha256|sha384|sha512)-([A-Za-z0-9+/]+={0,2})(?:\?.*)?", re.ASCII)
_SHA1 = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_NEVER = frozenset({"node_modules", "favicon.ico"})
_SAFE = "@/~!*'()+"


def take_package(segments: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """Split a path's segments after the package's name: two of them if it has a scope. None: it is no name."""
    count = 2 if segments[0].startswith("@") else 1
    name = "/".join(segments[:count])
    return (name, segments[count:]) if is_package(name) else None


def is_package(name: str) -> bool:
    """Tell whether this can be a package's name."""
    return len(name) <= MAX_NAME and _PACKAGE.fullmatch(name) is not None and name not in _NEVER


def is_version(text: str) -> bool:
    """Tell whether this can be a version, or a tag that stands for one."""
    return len(text) <= MAX_VERSION and _VERSION.fullmatch(text) is not None


def is_tarball(filename: str) -> bool:
    """Tell whether this can be a tarball's file name."""
    return len(filename) <= MAX_FILE and _TARBALL.fullmatch(filename) is not None


def tarball_of(package: str, version: str) -> str | None:
    """Give a version's file name as npm writes it, without the scope; None: no path can have it."""
    filename = f"{package.rpartition('/')[2]}-{version}.tgz"
    return filename if is_version(version) and is_tarball(filename) else None


def tarball_url(mount: str, package: str, filename: str) -> str:
    """Give the pond's own URL of a tarball, in the registry's own spelling: lock files leave it out, or rewrite it."""
    return f"{mount}/{quote(package, safe=_SAFE)}/-/{quote(filename, safe=_SAFE)}"


def attestations_url(mount: str, package: str, version: str) -> str:
    """Give the pond's own URL of a version's attestations."""
    return f"{mount}/-/npm/v1/attestations/{quote(package, safe=_SAFE)}@{quote(version, safe=_SAFE)}"


def upstream_name(package: str) -> str:
    """Write a name as npm asks for it: the slash of a scoped one is escaped."""
    return quote(package, safe="@~!*'()").replace("%2F", "%2f")


def checksums(integrity: object, shasum: object) -> tuple[Checksum, ...]:
    """Read what a version promises of its tarball: Subresource Integrity (W3C SRI), and the older SHA-1.

    What is odd promises nothing.
    """
    found = list(_integrity(integrity)) if isinstance(integrity, str) else []
    if isinstance(shasum, str) and _SHA1.fullmatch(shasum):
        found.append(Checksum("sha1", shasum.lower()))
    return tuple(dict.fromkeys(found))


def _integrity(text: str) -> Iterator[Checksum]:
    for word in text.split(maxsplit=MAX_DIGESTS)[:MAX_DIGESTS]:
        match = _SRI.fullmatch(word)
        if match is None:
            continue
        try:
            digest = b64decode(match[2], validate=True)
        except ValueError:
            continue
        if len(digest) == _DIGEST_BYTES[match[1]]:
            yield Checksum(match[1], digest.hex())
