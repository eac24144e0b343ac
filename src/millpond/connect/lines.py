"""Taking a change back out of a file that others have changed since. PURE.

A three-way merge by lines: the change is the difference between what we found and what we wrote; each of its pieces
must still stand, whole, in the file as it is now. Where one does not, nothing is taken back: that is the user's to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence


def revert(before: str, after: str, now: str) -> str | None:
    """Give `now` without what turned `before` into `after`; None: our lines are not there as we wrote them."""
    if now == after:
        return before
    was, wrote, lines = (text.splitlines(keepends=True) for text in (before, after, now))
    stands = {
        place: moved
        for same, there in _same(wrote, lines)
        for place, moved in zip(range(same.start, same.stop), range(there.start, there.stop), strict=True)
    }
    for old, ours in reversed(list(_changed(was, wrote))):
        places = [stands.get(place, -1) for place in range(ours.start, ours.stop)]
        if not places or places[0] < 0 or places != list(range(places[0], places[0] + len(places))):
            return None
        lines[places[0] : places[-1] + 1] = was[old]
    return "".join(lines)


def _same(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Give the parts that two texts have in common, in order; common ends are matched before all else."""
    shorter = min(len(first), len(second))
    head = next((at for at in range(shorter) if first[at] != second[at]), shorter)
    rest = shorter - head
    tail = next((at for at in range(rest) if first[-1 - at] != second[-1 - at]), rest)
    yield slice(0, head), slice(0, head)
    middle = first[head : len(first) - tail], second[head : len(second) - tail]
    for block in difflib.SequenceMatcher(None, *middle, autojunk=False).get_matching_blocks():
        yield (
            slice(head + block.a, head + block.a + block.size),
            slice(head + block.b, head + block.b + block.size),
        )
    yield slice(len(first) - tail, len(first)), slice(len(second) - tail, len(second))


def _changed(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Give the parts in which two texts differ, in order."""
    at_first = at_second = 0
    for one, other in (*_same(first, second), (slice(len(first), len(first)), slice(len(second), len(second)))):
        if one.start > at_first or other.start > at_second:
            yield slice(at_first, one.start), slice(at_second, other.start)
        at_first, at_second = one.stop, other.stop
