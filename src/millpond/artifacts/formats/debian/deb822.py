"""Debian's control files, read in pieces: stanzas of fields (deb822), compressed or not. PURE.

Each reader has limits: of a line, of a stanza, and (`formats.unpacking`) of what a compressed file may grow to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from millpond.artifacts.formats.unpacking import unpacked

MAX_STANZA_BYTES = 16 * (1 << 20)
_FIELD = re.compile(rb"[!-9;-~]+:[^\x00]*")


def plain(path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a document as its suffix says. Raises `ValueError` as `unpacked` does."""
    name = path.rpartition("/")[2]
    return unpacked(name.rpartition(".")[2] if "." in name else "", chunks)


def stanzas(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a document into its stanzas. Raises `ValueError` for one of more than `MAX_STANZA_BYTES`."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(rest) > MAX_STANZA_BYTES:
            raise ValueError(f"it has a stanza of more than {MAX_STANZA_BYTES} bytes")
        yield from (stanza for stanza in whole if stanza.strip())
    if rest.strip():
        yield rest


def fields(stanza: bytes, wanted: frozenset[bytes]) -> dict[bytes, list[bytes]]:
    """Read some fields of a stanza: the lines of each, without white space at their ends.

    `wanted` has the names in lower case, and so has the result. Raises `ValueError` for what is no stanza.
    """
    found: dict[bytes, list[bytes]] = {}
    lines: list[bytes] | None = None
    for line in stanza.strip(b"\n").split(b"\n"):
        if line[:1] in {b" ", b"\t"}:
            if lines is not None:
                lines.append(line.strip())
        elif line[:1] == b"#":
            continue
        elif not _FIELD.fullmatch(line):
            raise ValueError(f"it has a line that is no field: {line[:80]!r}")
        else:
            raw, _, value = line.partition(b":")
            name = raw.lower()
            lines = found.setdefault(name, []) if name in wanted else None
            if lines is not None:
                lines.append(value.strip())
    return found
