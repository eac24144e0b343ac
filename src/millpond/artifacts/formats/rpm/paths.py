"""Which path of an RPM repository is what. PURE.

A repository is a folder with ``repodata/repomd.xml`` in it, at any depth below the upstream's base, and there may be
many of them below one base. What its ``repodata/`` holds are members; a name that begins with the digest of the bytes
(createrepo's unique names) never means others. Packages lie wherever the index says, in the folder or below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from millpond.artifacts.model import Checksum

REPODATA, ENTRY = "repodata", "repomd.xml"
SIGNATURE, KEY = f"{ENTRY}.asc", f"{ENTRY}.key"
MIRRORLIST, METALINK = "mirrorlist", "metalink"
COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst", ".zck")
"""Those of an index that can be read here."""
_HASHED = re.compile(r"(?P<hex>[0-9a-f]{64}|[0-9a-f]{128})-.+", re.ASCII)
_INDEX = re.compile(r"(?:[0-9a-f]{32,128}-)?(?P<kind>primary|prestodelta)\.xml(?:\.(?:gz|xz|bz2|zst|zck))?", re.ASCII)
_ALGORITHMS = {64: "sha256", 128: "sha512"}
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\?#]")


class Kind(Enum):
    """What lies at a path."""

    ENTRY = "entry file"
    SIGNATURE = "detached signature"
    MEMBER = "member"
    PACKAGE = "package"
    LIST = "list of mirrors"
    FILE = "any other file"


@dataclass(frozen=True, slots=True)
class Place:
    """A path as it was understood. `root`: the folder of its repository, with a slash at its end unless empty."""

    path: str
    kind: Kind
    root: str
    digest: Checksum | None = None


def classify(path: str) -> Place:
    """Say what lies at a path (relative to the base, without a leading slash, perhaps with a list's query)."""
    folder, _, name = path.partition("?")[0].rpartition("/")
    if folder == REPODATA or folder.endswith(f"/{REPODATA}"):
        return _inside(path, folder.removesuffix(REPODATA), name)
    root = f"{folder}/" if folder else ""
    if name in {MIRRORLIST, METALINK}:
        return Place(path, Kind.LIST, root)
    return Place(path, Kind.PACKAGE if name.endswith((".rpm", ".drpm")) else Kind.FILE, root)


def _inside(path: str, root: str, name: str) -> Place:
    match name:
        case "repomd.xml":
            return Place(path, Kind.ENTRY, root)
        case "repomd.xml.asc":
            return Place(path, Kind.SIGNATURE, root)
        case "repomd.xml.key":
            return Place(path, Kind.FILE, root)
    hashed = _HASHED.fullmatch(name)
    digest = Checksum(_ALGORITHMS[len(hashed["hex"])], hashed["hex"]) if hashed else None
    return Place(path, Kind.MEMBER, root, digest)


def index_kind(path: str) -> str:
    """Say which index of packages lies at a path, ``primary`` or ``prestodelta``; empty: none that can be read here."""
    folder, _, name = path.rpartition("/")
    found = _INDEX.fullmatch(name) if folder == REPODATA or folder.endswith(f"/{REPODATA}") else None
    return found["kind"] if found else ""


def stem(path: str) -> str:
    """Give what the encodings and generations of an index have in common: no path itself, but where all of them lie."""
    return f"{path.rpartition('/')[0]}/:{index_kind(path)}"


def compression(path: str) -> str:
    """Give an index's compression without its dot; empty: it is plain."""
    return next((one[1:] for one in COMPRESSIONS if path.endswith(one)), "")


def below(root: str, href: str, base: str) -> str:
    """Give the path of what a document names by `href`; empty: it lies elsewhere, and nobody can ask for it here.

    `base` is its own base (``xml:base``): whoever reads it goes there past the pond.
    """
    path = unquote(href, errors="surrogateescape").removeprefix("./")
    if base or _UNFIT.search(href) or _UNFIT.search(path) or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return ""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", href) or any("\ud800" <= char <= "\udfff" for char in path):
        return ""
    return root + path
