"""``make bench-compare``: today's figures beside the committed ones, as ratios to nginx. The decisions are PURE.

Ratios travel between machines, so they are what is compared; what has no ratio (memory, start-up, waiting times) is
compared as it is, above a floor below which a change means nothing. A loss of more than 10 % is a cost; where the
rounds of both runs overlap it may be noise, which is said, and only more rounds can tell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import stats
from bench.model import Key, Row, ratio_of, read

COST = 0.10
FLOORS: Mapping[str, float] = {"MiB": 5.0, "ms": 1.0, "s": 0.1}
UNJUDGED = frozenset({"lag"})
"""Groups whose figures are counts of rare things: the targets judge them."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure then and now; `gain` is how much better it became (-0.2: a fifth worse)."""

    row: Row
    then: float
    now: float
    gain: float
    apart: bool
    """Whether no round of one run reaches those of the other."""

    @property
    def word(self) -> str:
        """Say what it is."""
        if self.gain < -COST:
            return "costs" if self.apart else "may cost: the rounds overlap"
        return "gains" if self.gain > COST and self.apart else ""


def compare(before: Mapping[Key, Row], after: Mapping[Key, Row]) -> Iterator[Change]:
    """Compare what both runs have of our own servers."""
    for key, row in after.items():
        old = before.get(key)
        if old is None or row.group in UNJUDGED or not row.server.startswith("millpond"):
            continue
        ratios = ratio_of(old, before), ratio_of(row, after)
        then, now = ratios if all(ratios) else (old.values, row.values)
        yield _change(row, then, now, floor=0.0 if all(ratios) else FLOORS.get(row.unit, 0.0))


def _change(row: Row, then: tuple[float, ...], now: tuple[float, ...], floor: float) -> Change:
    was, is_ = stats.median(then), stats.median(now)
    better = is_ - was if row.more_is_better else was - is_
    scale = abs(was) or abs(is_) or 1.0
    gain = 0.0 if abs(better) <= floor else better / scale
    return Change(row, was, is_, gain, apart=min(now) > max(then) or max(now) < min(then))


def text(changes: list[Change]) -> str:
    """Write the table: the worst first."""
    lines = ["| load | server | figure | then | now | change | |", "| --- | --- | --- | ---: | ---: | ---: | --- |"]
    for one in sorted(changes, key=lambda one: one.gain):
        row = one.row
        lines.append(
            f"| {row.group}: {row.case} | {row.server} | {row.metric} | {one.then:.3g} | {one.now:.3g} "
            f"| {one.gain:+.0%} | {one.word} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Compare two files of figures; 1: something costs more than 10 %, 2: there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="compare two files of figures")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    if not options.before.exists():
        sys.stderr.write(f"bench: {options.before} is not there: measure with --out docs/benchmarks first\n")
        return 2
    before, _ = read(options.before.read_text())
    after, _ = read(options.after.read_text())
    changes = list(compare(before, after))
    if not changes:
        sys.stderr.write("bench: the two have no figure of the pond in common\n")
        return 2
    sys.stdout.write(text(changes))
    return int(any(one.word == "costs" for one in changes))


if __name__ == "__main__":
    sys.exit(main())
