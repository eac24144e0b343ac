"""Lists of mirrors: the plain mirrorlist, and metalink (version 3, as dnf reads it). PURE.

Both are read for the mirrors in them, and rewritten for clients, who shall find nothing in them but the pond. What a
metalink says of repomd.xml itself, its digests and those of its last generations, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from millpond.artifacts.formats.rpm.paths import ENTRY, METALINK, MIRRORLIST, REPODATA
from millpond.artifacts.formats.rpm.repomd import checksums, whole_number
from millpond.artifacts.formats.rpm.xmlrecords import MAX_TEXT_CHARS, Element, Reader, local
from millpond.artifacts.generations import MAX_ALTERNATES, numbered
from millpond.artifacts.model import Checksum, Member

MAX_BYTES = 4 * (1 << 20)
MAX_LINE_BYTES = 8192
MAX_MIRRORS = 1000
SCHEMES = (f"{METALINK}+", f"{MIRRORLIST}+")
"""What stands before the scheme of a base URL that is a list's address."""
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", re.IGNORECASE)


def list_url(base_url: str) -> str:
    """Give the address of the list that a base URL stands for; empty: it is the repository's own."""
    return next((base_url.removeprefix(one) for one in SCHEMES if base_url.startswith(one)), "")


class MirrorReader:
    """Reads the mirrors out of a list of either kind, as it comes."""

    def __init__(self) -> None:
        self._size, self._begun = 0, b""
        self._kind: _Lines | _Urls | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `ValueError`."""
        self._size += len(chunk)
        if self._size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        if self._kind is None:
            chunk = self._begun = (self._begun + chunk).lstrip()
            if not chunk:
                return
            self._kind = _Urls() if chunk.startswith(b"<") else _Lines()
        self._kind.feed(chunk)
        if len(self._kind.urls) > MAX_MIRRORS:
            raise ValueError(f"it names more than {MAX_MIRRORS} mirrors")

    def close(self) -> tuple[str, ...]:
        """Give the mirrors, the best first, each with a slash at its end. Raises `ValueError` where there is none."""
        urls = [] if self._kind is None else self._kind.close()
        if not urls:
            raise ValueError("it names no http or https mirror")
        return tuple(dict.fromkeys(f"{url.rstrip('/')}/" for url in urls))


class _Lines:
    """The URLs of a mirrorlist: one a line; whatever else is there is passed over."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        if b"\0" in chunk:
            raise ValueError("it is no text")
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError(f"it has a line of more than {MAX_LINE_BYTES} bytes")
        self._read(lines)

    def close(self) -> list[str]:
        self._read([self._rest])
        return self.urls

    def _read(self, lines: list[bytes]) -> None:
        texts = (line.decode("utf-8", "replace").strip() for line in lines)
        self.urls += [text for text in texts if _URL.fullmatch(text)]


class _Urls:
    """The URLs of repomd.xml in a metalink, without the file's own name."""

    def __init__(self) -> None:
        self._reader = Reader(self._start, self._end)
        self._open: str | None = None
        self._preference = 0
        self.urls: list[tuple[int, str]] = []

    def feed(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def close(self) -> list[str]:
        """Give the repositories' addresses, the best first, in their order where they are alike."""
        self._reader.close()
        ordered = [url for _, url in sorted(self.urls, key=lambda one: -one[0])]
        sound = [url for url in ordered if _URL.fullmatch(url) and url.endswith(f"/{REPODATA}/{ENTRY}")]
        return [url.removesuffix(f"{REPODATA}/{ENTRY}") for url in sound]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._reader.depth == 1 and local(name) != METALINK:
            raise ValueError(f"it is no metalink document but {local(name)[:40]}")
        self._open = None
        if local(name) == "url":
            told = attributes.get("preference", "")
            self._preference = int(told[:6]) if told.isascii() and told.isdigit() else 0
            self._open = ""
            self._reader.listen(self._text)

    def _end(self, name: str) -> None:
        if self._open is not None and local(name) == "url":
            self.urls.append((self._preference, self._open.strip()))
        self._open = None
        self._reader.listen(None)

    def _text(self, text: str) -> None:
        if self._open is not None:
            self._open = (self._open + text)[:MAX_TEXT_CHARS]


def promised(path: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List what a metalink promises of an entry file: the present generation, then older ones. Raises `ValueError`."""
    found = _Promises()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        found.reader.feed(chunk)
    found.reader.close()
    for number, (sums, length) in enumerate(one for one in found.sets[:MAX_ALTERNATES] if one[0]):
        name = numbered(path, number)
        yield Member(name, path, tuple(sums), length[-1] if length else None)


class _Promises:
    """The digests and sizes in a metalink, a set for each generation."""

    def __init__(self) -> None:
        self.reader = Reader(self._start, self._end)
        self.sets: list[tuple[list[Checksum], list[int]]] = [([], [])]
        self._element = Element()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.reader.depth == 1 and local(name) != METALINK:
            raise ValueError(f"it is no metalink document but {local(name)[:40]}")
        if local(name) == "alternate":
            self.sets.append(([], []))
        if local(name) in {"hash", "size"}:
            self._element = Element(attributes)
            self.reader.listen(self._text)

    def _end(self, name: str) -> None:
        self.reader.listen(None)
        sums, sizes = self.sets[-1]
        if local(name) == "hash":
            sums.extend(checksums(self._element))
        elif local(name) == "size" and (size := whole_number(self._element.text)) is not None:
            sizes.append(size)

    def _text(self, text: str) -> None:
        self._element.text = (self._element.text + text)[:MAX_TEXT_CHARS]


class MirrorlistRewriter:
    """A mirrorlist for clients: one line, the pond's own address of the folder (`url`, with a slash at its end)."""

    def __init__(self, url: str) -> None:
        self._reader, self._url = MirrorReader(), url

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes. Raises `ValueError`."""
        self._reader.feed(chunk)
        return b""

    def close(self) -> bytes:
        """Give the list. Raises `ValueError` for what is none."""
        self._reader.close()
        return f"{self._url}\n".encode()


class MetalinkRewriter:
    """A metalink for clients: every list of mirrors in it has one URL, the pond's own of repomd.xml."""

    def __init__(self, url: str) -> None:
        self._reader = Reader(self._start, self._end, self._text)
        self._url, self._ready = f"{url}{REPODATA}/{ENTRY}", ['<?xml version="1.0" encoding="utf-8"?>\n']
        self._skipped = self._lists = 0
        self._silent = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that are ready. Raises `ValueError`."""
        self._reader.feed(chunk)
        ready, self._ready = "".join(self._ready).encode(), []
        return ready

    def close(self) -> bytes:
        """Give the rest. Raises `ValueError` for what is no metalink, or names no mirrors."""
        self._reader.close()
        if not self._lists:
            raise ValueError("it names no mirrors")
        return "".join(self._ready).encode()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._reader.depth == 1 and local(name) != METALINK:
            raise ValueError(f"it is no metalink document but {local(name)[:40]}")
        if self._skipped:
            return
        if local(name) in {"resources", "url"}:
            self._skipped, self._silent = self._reader.depth, local(name) == "url"
        if self._silent:  # the publisher's
            return
        told = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items() if key != "origin")
        self._ready.append(f"<{name}{told}>")
        if self._skipped:
            self._lists += 1
            kind = self._url.partition(":")[0]
            self._ready.append(f'<url protocol="{kind}" type="{kind}" preference="100">{escape(self._url)}</url>')

    def _end(self, name: str) -> None:
        if self._reader.depth == self._skipped:
            self._skipped = 0
            if self._silent:
                self._silent = False
                return
        if not self._skipped:
            self._ready.append(f"</{name}>")

    def _text(self, text: str) -> None:
        if not self._skipped:
            self._ready.append(escape(text))
