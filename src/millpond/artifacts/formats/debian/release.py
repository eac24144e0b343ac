"""The entry file: Release, and InRelease, which is the same within its signature (RFC 9580 section 7). PURE.

What stands outside of the signed text is nobody's word and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime

from millpond.artifacts.formats.debian.deb822 import fields
from millpond.artifacts.formats.debian.paths import INRELEASE, by_hash_paths
from millpond.artifacts.generations import Dates
from millpond.artifacts.model import Checksum, Member

MAX_BYTES = 32 * (1 << 20)
MAX_FILES = 500_000
BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
SIGNATURE, END = b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"
_SECTIONS = {b"md5sum": ("md5", 32), b"sha1": ("sha1", 40), b"sha256": ("sha256", 64), b"sha512": ("sha512", 128)}
_WANTED = frozenset({*_SECTIONS, b"date", b"valid-until", b"acquire-by-hash"})
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")


def members(path: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List what an entry file names, by their paths in the repository; where it has them by hash, by those too.

    Raises `ValueError` for what is no such file.
    """
    found = _read(path, chunks)
    folder = path.rpartition("/")[0]
    by_hash = found.get(b"acquire-by-hash", [b""])[0].lower() == b"yes"
    files: dict[str, tuple[int, list[Checksum]]] = {}
    for section, (algorithm, length) in _SECTIONS.items():
        for line in found.get(section, []):
            if line:
                name, size, value = _file(line, length)
                files.setdefault(name, (size, []))[1].append(Checksum(algorithm, value))
    if len(files) > MAX_FILES:
        raise ValueError(f"it names more than {MAX_FILES} files")
    for name, (size, checksums) in files.items():
        whole = f"{folder}/{name}".lstrip("/")
        yield Member(whole, whole, tuple(checksums), size)
        if by_hash:
            aliases = by_hash_paths(whole, tuple(checksums))
            yield from (Member(alias, whole, tuple(checksums), size) for alias in aliases)


def dates(path: str, chunks: Iterable[bytes]) -> Dates:
    """Read when it was made and until when it holds. Raises `ValueError` for what is no such file."""
    found = _read(path, chunks)
    return Dates(_date(found.get(b"date")), _date(found.get(b"valid-until")))


def _read(path: str, chunks: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    body = b""
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
    text = body.replace(b"\r\n", b"\n")
    found = fields(signed_text(text) if path.rpartition("/")[2] == INRELEASE else text, _WANTED)
    if not any(name in found for name in _SECTIONS):
        raise ValueError("it has none of MD5Sum, SHA1, SHA256 and SHA512, so it names no files")
    return found


def signed_text(text: bytes) -> bytes:
    """Give what is signed, dash-escaping undone. Raises `ValueError` where it isn't one signed message and no more."""
    if not text.startswith(BEGIN + b"\n") or text.count(b"\n" + SIGNATURE) != 1 or text.count(BEGIN) != 1:
        raise ValueError("it is not one clear-signed message")
    if not text.rstrip().endswith(END):
        raise ValueError("its signature ends too early")
    head, blank, rest = text.partition(b"\n\n")
    if not blank or any(not line.startswith(b"Hash:") for line in head.split(b"\n")[1:]):
        raise ValueError("its signed message has other headers than Hash")
    lines = rest.partition(b"\n" + SIGNATURE)[0].split(b"\n")
    return b"\n".join(line.removeprefix(b"- ") for line in lines)


def _file(line: bytes, length: int) -> tuple[str, int, str]:
    """Read ``DIGEST SIZE PATH``. Raises `ValueError`."""
    parts = line.decode("utf-8").split(maxsplit=2)
    value, size, name = parts if len(parts) == 3 else ("", "", "")  # noqa: PLR2004 - see above
    value = value.lower()
    if len(value) != length or not _HEX.fullmatch(value) or not size.isascii() or not size.isdigit():
        raise ValueError(f"it has a line that names no file: {line[:80]!r}")
    name = name.removeprefix("./")
    if _UNSAFE.search(name) or {"", ".", ".."} & set(name.split("/")):
        raise ValueError(f"it names a file outside of the repository: {line[:80]!r}")
    return name, int(size[:18]), value


def _date(lines: list[bytes] | None) -> float | None:
    """Read a date (RFC 5322, always UTC); None: absent or odd."""
    try:
        return parsedate_to_datetime(lines[0].decode("ascii")).timestamp() if lines else None
    except (ValueError, OverflowError):
        return None
