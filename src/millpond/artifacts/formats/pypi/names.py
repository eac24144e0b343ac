"""Names by grammar: projects (PEP 503, PEP 508) and file names. PURE.

What is no name here never becomes a path, a key or a link of the pond.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from millpond.artifacts.model import Checksum

MAX_NAME = 255
METADATA, SIGNATURE = ".metadata", ".asc"
SUFFIXES = (
    ".whl", ".zip", ".egg", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.lzma", ".tar.z",
    ".tar.zst", ".tar", ".exe", ".msi", ".rpm", ".deb", ".dmg",
)  # fmt: skip
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!@=,~-]*", re.ASCII)
_RUNS = re.compile(r"[-_.]+")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_ALGORITHM = re.compile(r"[a-z][a-z0-9_]{1,15}", re.ASCII)


def normalized(project: str) -> str | None:
    """Give the one spelling of a project's name (PEP 503); None: it is no name."""
    if len(project) > MAX_NAME or not _PROJECT.fullmatch(project):
        return None
    return _RUNS.sub("-", project).lower()


def is_distribution(filename: str) -> bool:
    """Tell whether an index may list this file name, and we serve it."""
    return len(filename) <= MAX_NAME and _FILE.fullmatch(filename) is not None and filename.lower().endswith(SUFFIXES)


def is_file(filename: str) -> bool:
    """Tell whether this is a distribution's name, or that of its metadata or signature."""
    for companion in (METADATA, SIGNATURE):
        if filename.endswith(companion):
            return len(filename) <= MAX_NAME and is_distribution(filename.removesuffix(companion))
    return is_distribution(filename)


def page_url(mount: str, project: str) -> str:
    """Give the pond's own URL of a project's page."""
    return f"{mount}/simple/{project}/"


def file_url(mount: str, project: str, filename: str) -> str:
    """Give the pond's own URL of a file; never with a query."""
    return f"{mount}/files/{project}/{quote(filename, safe='')}"


def checksum(algorithm: object, value: object) -> Checksum | None:
    """Read one promised digest; None: it is odd, and promises nothing."""
    if not isinstance(algorithm, str) or not isinstance(value, str):
        return None
    name = algorithm.lower()
    return Checksum(name, value.lower()) if _ALGORITHM.fullmatch(name) and _HEX.fullmatch(value) else None
