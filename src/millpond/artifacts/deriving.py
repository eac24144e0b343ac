"""What `derived` has made in a child process, or at once for a small blob: one document from one blob, file to file.

A module of its own so that a child imports the one format and nothing else. A document appears by one rename, whole; it
is not synced, since it can be made again.

A members document has a first line of its own and then one line for each member, its name, a tab and JSON, in the order
of the names' bytes; so it is searched where it lies, by halves, and never read as a whole.
"""

from __future__ import annotations

import json
import mmap
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from millpond.artifacts.formats.base import Coherent, Described, Rewrites, Typed
from millpond.artifacts.generations import Dates, changed
from millpond.artifacts.model import Checksum, Links, Member, Target

CHUNK_BYTES = 256 * 1024
PARTIAL = "partial-"
_TITLE = b"# members, by name\n"


def write_rewritten(format_: Rewrites, target: Target, content_type: str, blob: Path, links: Links, to: Path) -> None:
    """Rewrite a blob into the file `to`. Raises `ValueError` for what is no such document, and `OSError`."""
    _write(to, _rewritten(format_, target, content_type, blob, links))


def _rewritten(format_: Rewrites, target: Target, content_type: str, blob: Path, links: Links) -> Iterator[bytes]:
    rewriter = format_.rewriter(target, content_type, links)
    for chunk in _chunks(blob):
        yield rewriter.feed(chunk)
    yield rewriter.close()


def read_media_type(format_: Typed, target: Target, told: str, blob: Path) -> str:
    """Say what a document is by its own word. Raises `ValueError` for what is none."""
    return format_.media_type(target, told, blob.read_bytes())


def write_dates(format_: Coherent, target: Target, blob: Path, to: Path) -> None:
    """Write down what an entry file says of its own time. Raises `ValueError`, `OSError`."""
    found = format_.dates(target, _chunks(blob))
    _write(to, iter([json.dumps((found.issued_at, found.valid_until)).encode()]))


def read_dates(path: Path) -> Dates:
    """Read it again. Raises `FileNotFoundError`."""
    return Dates(*json.loads(path.read_bytes()))


def changed_members(old: Path, new: Path, limit: int) -> list[str] | None:
    """Compare two members documents: give the names of which they say different things; None: more than `limit`."""
    found: list[str] = []
    with old.open("rb") as before, new.open("rb") as after:
        for name in changed(_lines(before), _lines(after)):
            found.append(name.decode("utf-8", "surrogatepass"))
            if len(found) > limit:
                return None
    return found


def _lines(document: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in document:
        name, tab, said = line.rstrip(b"\n").partition(b"\t")
        if tab:  # the title has none
            yield name, said


def write_members(format_: Described, target: Target, content_type: str, blob: Path, source: str, to: Path) -> None:
    """List a blob's members in the file `to`. Raises `ValueError` for what is no such document, and `OSError`."""
    lines: dict[bytes, bytes] = {}
    for member in format_.members(target, content_type, source, _chunks(blob)):
        name = _name(member.name)
        if name is not None:
            lines.setdefault(name, _line(member))  # of two with one name the first counts
    _write(to, _listed(lines))


def _listed(lines: dict[bytes, bytes]) -> Iterator[bytes]:
    yield _TITLE
    for name in sorted(lines):
        yield name + b"\t" + lines[name] + b"\n"


def find_member(path: Path, name: str) -> Member | None:
    """Look a member up in a members document; None: it has none of that name. Raises `FileNotFoundError`."""
    wanted = _name(name)
    if wanted is None:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
        low, high = len(_TITLE), len(lines)
        while low < high:
            begin = lines.rfind(b"\n", 0, (low + high) // 2) + 1
            end = lines.find(b"\n", begin)
            tab = lines.find(b"\t", begin, end)
            here = lines[begin:tab]
            if here == wanted:
                return _member(lines[tab + 1 : end])
            low, high = (end + 1, high) if here < wanted else (low, begin)
    return None


def _name(name: str) -> bytes | None:
    """Give a name as it stands in a line; None: it can't stand there."""
    encoded = name.encode("utf-8", "surrogatepass")
    return None if not encoded or b"\t" in encoded or b"\n" in encoded else encoded


def _line(member: Member) -> bytes:
    checksums = [(one.algorithm, one.hex) for one in member.checksums]
    return json.dumps((member.name, member.url, checksums, member.size, member.published_at)).encode()


def _member(line: bytes) -> Member:
    name, url, checksums, size, published_at = json.loads(line)
    return Member(name, url, tuple(Checksum(*one) for one in checksums), size, published_at)


def _chunks(blob: Path) -> Iterator[bytes]:
    with blob.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _write(to: Path, pieces: Iterator[bytes]) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f"{PARTIAL}{os.getpid()}-{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as file:
            file.writelines(pieces)
        partial.replace(to)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
