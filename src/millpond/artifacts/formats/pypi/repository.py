"""The paths of a Python package index, and what is known of each. PURE.

``simple/`` and ``simple/{project}/`` are its pages, in the variants ``json`` and ``html``;
``files/{project}/{filename}`` are
the files, wherever the upstream keeps them: the project's page knows their URLs, digests and dates. Links of the
pages are
rewritten to these paths, so that nothing goes past the pond, and lock files stay valid when the upstream moves its
files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import ClassVar

from millpond.artifacts.formats.base import Transducer
from millpond.artifacts.formats.pypi import htmlpage, jsonpage
from millpond.artifacts.formats.pypi.listing import MAX_MEMBERS, members
from millpond.artifacts.formats.pypi.names import METADATA, SIGNATURE, is_file, normalized
from millpond.artifacts.formats.pypi.negotiation import HTML, JSON, OFFERED, UPSTREAM_ACCEPT, choose
from millpond.artifacts.model import Absent, Body, Expectation, Links, Member, Moved, Resolution, Target

MIB = 1 << 20
MAX_ROOT_BYTES, MAX_PAGE_BYTES, MAX_METADATA_BYTES, MAX_SIGNATURE_BYTES = 256 * MIB, 64 * MIB, 16 * MIB, MIB
ROOT = "simple/"
_PREFIXES: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    (".whl", (b"PK",)),
    (".zip", (b"PK",)),
    (".egg", (b"PK", b"#!")),  # setuptools once made eggs that are shell scripts with an archive behind
    (".tar.gz", (b"\x1f\x8b",)),
    (".tgz", (b"\x1f\x8b",)),
    (".tar.bz2", (b"BZh",)),
    (".tbz", (b"BZh",)),
    (".tbz2", (b"BZh",)),
    (".tar.xz", (b"\xfd7zXZ",)),
    (".txz", (b"\xfd7zXZ",)),
    (".exe", (b"MZ",)),
    (".rpm", (b"\xed\xab\xee\xdb",)),
    (".deb", (b"!<arch>",)),
)


class PyPI:
    """The simple repository API. The upstream's base URL is its index (``.../simple``)."""

    name: ClassVar[str] = "pypi"
    default_ttl_s: ClassVar[float] = 600.0
    rewrite_version: ClassVar[int] = 1

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path: a page, a file, another spelling of one (Moved), or nothing that an index has."""
        match path.split("/"):
            case ["simple"]:
                return Moved(ROOT)
            case ["simple", ""]:
                return _page("", choose(query, accept))
            case ["simple", project] | ["simple", project, ""]:
                return _project(path, project, choose(query, accept))
            case ["files", project, filename]:
                return _file(project, filename)
        return Absent(
            "a Python index has simple/, simple/PROJECT/ and files/PROJECT/FILE: set the client's index to .../simple"
        )

    def expects(self, target: Target) -> Expectation:
        """Say what a page looks like, or which page knows a file."""
        if target.path.startswith(ROOT):
            return Expectation(_page_body(target))
        _, project, filename = target.path.split("/")
        return Expectation(_file_body(filename), index=_page(project, JSON), member=filename)

    def stand_ins(self, target: Target) -> tuple[Target, ...]:
        """Give a page's other variant."""
        return tuple(replace(target, variant=v, accept=a) for v, a in UPSTREAM_ACCEPT.items() if v != target.variant)

    def serves(self, target: Target, content_type: str) -> bool:
        """Who prefers JSON reads HTML too; who does not may know HTML only."""
        return target.variant == "json" or "html" in content_type

    def rewriter(self, target: Target, content_type: str, links: Links) -> Transducer:
        """Make a transducer for a page; its own type tells whether it is JSON or HTML, whatever was asked for."""
        project = _project_of(target)
        if not _is_json(content_type):
            return htmlpage.Rewriter(project, links)
        return jsonpage.ProjectRewriter(project, links) if project else jsonpage.RootChecker()

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List the files of a project's page, each with its metadata and signature; the root index has none.

        Raises `ValueError` for what is no page, or has more than `MAX_MEMBERS` files.
        """
        if not _project_of(target):
            return
        read = jsonpage.listed if _is_json(content_type) else htmlpage.listed
        every = (member for one in read(source, chunks) for member in members(one))
        yield from islice(every, MAX_MEMBERS)
        if next(every, None) is not None:
            raise ValueError(f"the page lists more than {MAX_MEMBERS} files")


def _page(project: str, variant: str) -> Target:
    below = f"{project}/" if project else ""
    return Target(ROOT + below, below, mutable=True, variant=variant, accept=UPSTREAM_ACCEPT[variant], rewritten=True)


def _project(path: str, project: str, variant: str) -> Resolution:
    name = normalized(project)
    if name is None:
        return Absent(f"{project[:80]!r} is no project's name (PEP 508)")
    page = _page(name, variant)
    return page if path == page.path else Moved(page.path)


def _file(project: str, filename: str) -> Resolution:
    name = normalized(project)
    if name is None:
        return Absent(f"{project[:80]!r} is no project's name (PEP 508)")
    if not is_file(filename):
        return Absent(f"{filename[:80]!r} is no distribution's file name: wheels, sdists, and their .metadata and .asc")
    path = f"files/{name}/{filename}"
    return Target(path, "", mutable=False) if name == project else Moved(path)


def _project_of(target: Target) -> str:
    return target.path.removeprefix(ROOT).rstrip("/")


def _page_body(target: Target) -> Body:
    max_bytes = MAX_PAGE_BYTES if _project_of(target) else MAX_ROOT_BYTES
    if target.variant == HTML:
        return Body(OFFERED[HTML], prefixes=(b"<",), html=True, max_bytes=max_bytes)
    # Some upstreams have HTML only, whatever is asked; then that is what the variant holds.
    return Body((*OFFERED[JSON], *OFFERED[HTML]), prefixes=(b"{", b"<"), html=True, max_bytes=max_bytes)


def _file_body(filename: str) -> Body:
    if filename.endswith(METADATA):
        return Body(max_bytes=MAX_METADATA_BYTES)
    if filename.endswith(SIGNATURE):
        return Body(prefixes=(b"-----BEGIN PGP",), max_bytes=MAX_SIGNATURE_BYTES)
    lower = filename.lower()
    return Body(prefixes=next((starts for suffix, starts in _PREFIXES if lower.endswith(suffix)), ()))


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower().endswith("json")
