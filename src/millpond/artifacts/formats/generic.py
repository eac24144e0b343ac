"""``generic``: any tree of files over HTTP. PURE.

Nothing is known of its paths, so everything is mutable unless the operator's patterns pin it (`artifacts.policy`). A
query is part of the key. The suffix tells what a body can't be, so that a captive portal's page is not kept as an
archive.
"""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import quote

from millpond.artifacts.model import Absent, Body, Expectation, Resolution, Target

_PATH_SAFE = "/!$&'()*+,;=:@~"
_QUERY_SAFE = "/?!$&'()*+,;=:@~%[]|^"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_JSON_STARTS = (*(bytes([byte]) for byte in b'{["-0123456789'), b"true", b"false", b"null")

_BINARY = (
    ".7z .aab .apk .appimage .bin .br .bz2 .cab .class .conda .crate .deb .dll .dmg .dylib .egg .exe .gem .gz .img "
    ".iso .jar .jpeg .jpg .jmod .lz .lz4 .lzma .msi .msix .nupkg .ova .pdf .pkg .png .qcow2 .rar .rpm .snap .so "
    ".squashfs .tar .tbz .tbz2 .tgz .txz .tzst .vhd .vhdx .vmdk .war .wasm .whl .xz .zip .zst"
)
_TEXT = (
    ".asc .cfg .conf .csv .ini .md5 .minisig .ndjson .pem .properties .sbom .sha1 .sha256 .sha256sum .sha512 "
    ".sha512sum .sh .sig .toml .txt .xml .yaml .yml"
)
NEVER_HTML = frozenset(f"{_BINARY} {_TEXT}".split())


class Generic:
    """Any file by its path."""

    name: ClassVar[str] = "generic"
    default_ttl_s: ClassVar[float] = 600.0

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Take the path as it is; a query belongs to the key. What could be read in two ways is refused."""
        del accept
        reason = _refusal(path, query)
        if reason:
            return Absent(reason)
        upstream_path = quote(path, safe=_PATH_SAFE)
        if not query:
            return Target(path, upstream_path, mutable=True)
        # The key has the query as it is sent, so that two spellings never share bytes that belong to one.
        sent = quote(query, safe=_QUERY_SAFE)
        return Target(f"{path}?{sent}", f"{upstream_path}?{sent}", mutable=True)

    def expects(self, target: Target) -> Expectation:
        """Judge by the suffix: archives and packages are no HTML page, ``.json`` starts with a JSON value."""
        name = target.path.partition("?")[0].rpartition("/")[2].lower()
        suffix = name[name.rfind(".") :] if "." in name else ""
        if suffix == ".json":
            return Expectation(Body(prefixes=_JSON_STARTS))
        return Expectation(Body(html=suffix not in NEVER_HTML))


def _refusal(path: str, query: str) -> str:
    if not path:
        return "name a file: this repository's own root has no listing"
    if "?" in path:
        return "an encoded question mark in a path would be taken for a query"
    if _CONTROL.search(path):
        return "the path has a control character or a backslash"
    if _SURROGATE.search(path) or _SURROGATE.search(query):
        return "the path or the query is not Unicode text"
    segments = path.split("/")
    if any(segment in {".", ".."} for segment in segments) or "" in segments[:-1]:
        return "the path has an empty, . or .. segment"
    return ""
