"""``alpine``: what apk asks for, and what is known of it. PURE.

Nothing is rewritten, since all of it is signed. A folder has one file that is entry file and index at once, the
APKINDEX, which is mutable; its packages stand as long as it names their bytes (`artifacts.generations`). Branches,
repositories and architectures are whatever the upstream has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import quote

from millpond.artifacts.formats.alpine import index
from millpond.artifacts.formats.alpine.package import VERSION_3, PackageInspector
from millpond.artifacts.generations import Dates, Head, Leaf, Role
from millpond.artifacts.model import Absent, Body, Checksum, Expectation, Member, Resolution, Target
from millpond.artifacts.soundness import Inspector

PACKAGE, INDEX_V3 = ".apk", ".adb"
GZIP = b"\x1f\x8b"
_SAFE = "/!$&'()*,;=:@~"  # no plus sign, which some object stores take for a space
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\?#\ud800-\udfff]")


class Alpine:
    """A tree of folders, each with an APKINDEX and the packages that it lists."""

    name: ClassVar[str] = "alpine"
    default_ttl_s: ClassVar[float] = 600.0

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path; there is one object at each, whatever the query."""
        del query, accept
        if not path or path.endswith("/"):
            return Absent(
                "an Alpine repository has files and no listings: write its address into /etc/apk/repositories"
            )
        if _UNFIT.search(path):
            return Absent("no file of a repository has such a name: it has a control character, a query or a backslash")
        if {"", ".", ".."} & set(path.split("/")):
            return Absent("the path has an empty, . or .. segment")
        return _target(path)

    def expects(self, target: Target) -> Expectation:
        """Say what a file looks like: by its suffix, and never like a page for people."""
        if _is_index(target.path):
            return Expectation(Body(prefixes=(GZIP,), max_bytes=index.MAX_BYTES))
        if target.path.endswith(INDEX_V3):
            return Expectation(Body(prefixes=(VERSION_3,), max_bytes=index.MAX_BYTES))
        return Expectation(Body(prefixes=(GZIP, VERSION_3) if target.path.endswith(PACKAGE) else ()))

    def role(self, target: Target) -> Role | None:
        """Say what a path is within its generation; None: a file beside all of them."""
        folder = _folder(target.path)
        if _is_index(target.path):
            return Head(folder)
        if target.path.endswith(PACKAGE):
            listing = folder + index.NAME
            return Leaf((listing,), (_target(listing),))
        return None

    def index(self, path: str) -> tuple[Target, str] | None:
        """Give the target of an index, which has one encoding; None: it is none."""
        return (_target(path), path) if _is_index(path) else None

    def by_digest(self, path: str, checksums: tuple[Checksum, ...]) -> tuple[str, ...]:
        """Give nothing: apk has no paths by digest."""
        del path, checksums
        return ()

    def dates(self, target: Target, chunks: Iterable[bytes]) -> Dates:
        """Say that an APKINDEX tells nothing of its time."""
        del target, chunks
        return Dates()

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List an index's packages, by path in the repository. Raises `ValueError`."""
        del content_type, source
        return index.members(_folder(target.path), chunks) if _is_index(target.path) else iter(())

    def inspector(self, target: Target) -> Inspector | None:
        """Make what looks into a package."""
        return PackageInspector() if target.path.endswith(PACKAGE) else None


def _is_index(path: str) -> bool:
    return path.rpartition("/")[2] == index.NAME


def _folder(path: str) -> str:
    """Give a path's folder with its slash; empty: it is the repository itself."""
    folder = path.rpartition("/")[0]
    return f"{folder}/" if folder else ""


def _target(path: str) -> Target:
    upstream = quote(path, safe=_SAFE)
    if path.endswith(PACKAGE):
        return Target(path, upstream, mutable=False)
    return Target(path, upstream, mutable=True, packed=_is_index(path), complete=_is_index(path))
