"""A package as it passes: is it the one that an index names, and is its data what it says itself? PURE.

An index names a package by the SHA-1 of its control segment (as it lies in the file, compressed), and the ``.PKGINFO``
in there has the SHA-256 of everything behind it (``datahash``): together the two leave only the signatures open, which
come first and are apk's to check. A package without ``datahash`` (of old) is named by both segments together. One of
version 3 is no tar archive, has its digests and signatures within, and passes.
"""

from __future__ import annotations

import hashlib
import re

from millpond.artifacts.formats.alpine.index import ALGORITHM
from millpond.artifacts.formats.alpine.segments import Entries, Piece, Streams
from millpond.artifacts.model import Checksum
from millpond.artifacts.soundness import Hasher

MIB = 1 << 20
MAX_HEAD_BYTES, MAX_PLAIN_BYTES = MIB, 8 * MIB
"""Bytes of the signatures and the control segment, compressed and not; as a rule they have a few thousand."""
INFO, SIGNATURE = ".PKGINFO", ".SIGN."
VERSION_3 = b"ADB"
"""How a package of version 3 begins."""
_DATAHASH = re.compile(rb"^datahash = ([0-9a-fA-F]{64})[ \t\r]*$", re.MULTILINE)


class PackageInspector:
    """Looks into one package (`soundness.Inspector`)."""

    algorithms: frozenset[str] = frozenset({ALGORITHM})

    def __init__(self) -> None:
        self._streams, self._entries = Streams(), Entries()
        self._control, self._data = _sha1(), hashlib.sha256()
        self._start = self._info = b""
        self._head = self._plain = 0
        self._is_control, self._done = False, False
        self._datahash = ""
        self._wrong: str | None = None

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes, in order."""
        if self._wrong is not None or self._is_version_3:
            return
        rest = data if self._done else self._before_data(bytes(data))
        if self._done and len(rest):
            self._data.update(rest)
            if not self._datahash:
                self._control.update(rest)

    def found(self) -> Checksum | None:
        """Give what an index would call the package; None: it has no whole control segment."""
        return Checksum(ALGORITHM, self._control.hexdigest()) if self._done and self._wrong is None else None

    def fault(self) -> str | None:
        """Say how the package contradicts itself, or can't be one; None: it does not."""
        if self._wrong is not None or self._is_version_3:
            return self._wrong
        if not self._done:
            return "it ends before its control segment does"
        got = self._data.hexdigest()
        if self._datahash and got != self._datahash:
            return f"the sha256 of its data is {got}, its own .PKGINFO says {self._datahash}"
        return None

    @property
    def _is_version_3(self) -> bool:
        return self._start == VERSION_3

    def _before_data(self, data: bytes) -> bytes:
        """Read signatures and control; gives what lies behind them."""
        if len(self._start) < len(VERSION_3):
            data, self._start = self._start + data, (self._start + data)[: len(VERSION_3)]
            if len(self._start) < len(VERSION_3) or self._is_version_3:
                return b""
        at = 0
        try:
            for piece in self._streams.feed(data):
                at += len(piece.raw)
                self._walk(piece)
                if piece.ends and self._is_control:
                    self._ended()
                    return data[at:]
                if piece.ends:
                    self._control = _sha1()  # that was a signature
        except ValueError as error:
            self._wrong = f"it is no package of apk: {error}"
        return b""

    def _walk(self, piece: Piece) -> None:
        self._control.update(piece.raw)
        self._head, self._plain = self._head + len(piece.raw), self._plain + len(piece.plain)
        if self._head > MAX_HEAD_BYTES or self._plain > MAX_PLAIN_BYTES:
            raise ValueError("its control segment is larger than any could be")
        for name, data in self._entries.feed(piece.plain):
            self._is_control = self._is_control or not name.startswith(SIGNATURE)
            if name == INFO:
                self._info += data

    def _ended(self) -> None:
        """Take note of where the data begins."""
        self._done = True
        told = _DATAHASH.search(self._info)
        self._datahash = told[1].decode().lower() if told else ""
        self._info = b""


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)
