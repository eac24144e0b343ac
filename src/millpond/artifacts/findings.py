"""What a check of the store can find. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field

DATABASE = "damaged catalog"
"""The catalog's own file is damaged."""
DAMAGED = "damaged blob"
"""A cached blob's bytes are not what its digest says; repair drops it with its entries."""
MISSING = "missing blob"
"""A cached blob's file is gone; repair drops its entries."""
LOST = "LOST UPLOAD"
"""An upload's bytes are gone; only a backup of the storage, or uploading again, brings them back."""
QUARANTINED = "DAMAGED UPLOAD"
"""An upload's bytes are not what its digest says; repair sets them aside."""
UNKNOWN = "unknown file"
"""A blob that the catalog does not know; repair registers it (or sets it aside, if its bytes are wrong)."""
UNLISTED = "unlisted upload"
"""An upload's record without its entry; repair restores the entry."""
UNRECORDED = "unrecorded upload"
"""An upload's entry without its record; repair writes the record."""
UNFINISHED = "unfinished upload"
"""A record whose commit a crash cut off; repair finishes or removes it."""
UNREADABLE = "unreadable record"
"""An upload's record that can't be read; repair writes it anew where the entry is there."""

MAX_PROBLEMS = 10_000


@dataclass(slots=True)
class FsckReport:
    """What a check found: `kinds` counts all of it, `problems` tells the first `MAX_PROBLEMS` in words."""

    blobs: int = 0
    bytes: int = 0
    unrepaired: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is as it should be now, by repair or from the start."""
        return self.unrepaired == 0

    def add(self, kind: str, what: str, detail: str, *, repaired: bool) -> None:
        """Take note of a finding; `what` is a digest, or repository and path."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.unrepaired += not repaired
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{kind}: {what}: {detail}{' (repaired)' if repaired else ''}")
