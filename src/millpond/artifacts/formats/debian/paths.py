"""Which path of a Debian repository is what (DebianRepository/Format). PURE.

In a repository with suites, everything below ``dists/`` belongs to one of them, and a suite's name may have slashes
(``bookworm/updates``), so that a member's entry file lies in one of several folders. In a flat one the entry file, the
indexes and the packages share a folder. Suites, components and architectures are whatever the upstream has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from millpond.artifacts.model import Checksum

MAX_HEADS = 4
"""Folders in which a member's entry file is looked for."""
DISTS = "dists/"
INRELEASE, RELEASE, SIGNATURE = "InRelease", "Release", "Release.gpg"
COMPRESSIONS = (".gz", ".xz", ".bz2", ".lzma", ".zst")
"""Those that are read here (`formats.unpacking`)."""
_INDEX = re.compile(r"(?:Packages|Sources)(?:\.[a-z0-9]+)?", re.ASCII)
_FLAT_MEMBER = re.compile(r"(?:(?:Packages|Sources)(?:\.[a-z0-9]+)?|(?:Contents|Translation)-[^/]+)", re.ASCII)
_ARCHITECTURE = re.compile(r"(?:binary-[^/]+|source|by-hash)", re.ASCII)
_PACKAGE = re.compile(
    r".+(?:\.u?deb|\.ddeb|\.dsc|\.diff\.gz|\.buildinfo|\.(?:orig|debian)[^/]*\.tar\.[a-z0-9]+(?:\.asc)?|\.tar\.[a-z0-9]+)"
)
_LENGTHS = {"MD5Sum": ("md5", 32), "SHA1": ("sha1", 40), "SHA256": ("sha256", 64), "SHA512": ("sha512", 128)}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


class Kind(Enum):
    """What lies at a path."""

    ENTRY = "entry file"
    SIGNATURE = "detached signature"
    MEMBER = "member"
    BY_HASH = "member, by its digest"
    PACKAGE = "package"
    FILE = "any other file"


@dataclass(frozen=True, slots=True)
class Place:
    """A path as it was understood. `folders`: those of its possible entry files, the most likely first."""

    path: str
    kind: Kind
    folders: tuple[str, ...] = ()
    digest: Checksum | None = None


def classify(path: str) -> Place:
    """Say what lies at a path (relative to the repository, without a leading slash)."""
    folder, _, name = path.rpartition("/")
    by_hash = _by_hash(path)
    if by_hash is not None:
        return Place(path, Kind.BY_HASH, _folders(path.rpartition("/by-hash/")[0]), by_hash)
    inner = bool(_ARCHITECTURE.fullmatch(folder.rpartition("/")[2])) and path.startswith(DISTS)
    if name in {INRELEASE, RELEASE, SIGNATURE} and not inner:
        return Place(path, Kind.SIGNATURE if name == SIGNATURE else Kind.ENTRY, (folder,))
    if folder.endswith(".diff") and name != "Index":
        return Place(path, Kind.PACKAGE)  # a patch, which the Index lists
    if path.startswith(DISTS):
        return Place(path, Kind.MEMBER, _folders(folder)) if path.count("/") > 1 else Place(path, Kind.FILE)
    if _FLAT_MEMBER.fullmatch(name):
        return Place(path, Kind.MEMBER, (folder,))
    if name == "Index" and folder.endswith(".diff"):
        return Place(path, Kind.MEMBER, (folder.rpartition("/")[0],))
    return Place(path, Kind.PACKAGE if _PACKAGE.fullmatch(name) else Kind.FILE)


def is_index(path: str) -> bool:
    """Whether a path is of a document that lists packages, and that can be read here."""
    name = path.rpartition("/")[2]
    if name == "Index":
        return path.endswith(".diff/Index")
    return _INDEX.fullmatch(name) is not None and (name.endswith(COMPRESSIONS) or "." not in name)


def stem(path: str) -> str:
    """Give what an index's encodings have in common: its path without the compression."""
    return next((path.removesuffix(one) for one in COMPRESSIONS if path.endswith(one)), path)


def by_hash_paths(path: str, checksums: tuple[Checksum, ...]) -> tuple[str, ...]:
    """Give a member's paths by digest, the strongest first, without those that apt no longer trusts."""
    folder = path.rpartition("/")[0]
    names = {algorithm: name for name, (algorithm, _) in _LENGTHS.items()}
    known = {one.algorithm: one.hex for one in checksums}
    strong = [one for one in ("sha512", "sha256") if one in known]
    return tuple(f"{folder}/by-hash/{names[one]}/{known[one]}".lstrip("/") for one in strong)


def _by_hash(path: str) -> Checksum | None:
    match path.split("/")[-3:]:
        case ["by-hash", name, value] if name in _LENGTHS:
            algorithm, length = _LENGTHS[name]
            if len(value) == length and _HEX.fullmatch(value):
                return Checksum(algorithm, value)
    return None


def _folders(folder: str) -> tuple[str, ...]:
    """List the folders that may be a member's suite; as a rule the one right below ``dists/`` is."""
    if not f"{folder}/".startswith(DISTS):
        return (folder,)
    segments = folder.split("/")
    while len(segments) > 2 and _ARCHITECTURE.fullmatch(segments[-1]):  # noqa: PLR2004 - dists/ and the suite
        segments.pop()  # the Release in there is a member itself
    return tuple("/".join(segments[:count]) for count in range(2, min(len(segments), MAX_HEADS + 1) + 1))
