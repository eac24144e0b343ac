"""The figures to reach, and whether they are. PURE.

A target names the rows that it is about; each row that was measured gets a verdict. Where a target says "always", the
worst round counts, else the median.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench import stats
from bench.model import PROCESSOR, RATE, Key, Row, ratio_of

Rows = Mapping[Key, Row]


class Measure(enum.Enum):
    """What of a row is set against the limit."""

    MEDIAN = "median"
    WORST = "worst round"
    RATIO = "ratio to nginx"
    WORST_RATIO = "ratio to nginx, worst round"
    AGAINST = "ratio to another server"
    BEYOND = "more than another server"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure to reach: at least (or at most) `limit`, for the rows of a group, server and metric.

    `cases`: beginnings of the loads' names, empty for all. `other`: the server of AGAINST and BEYOND.
    """

    text: str
    group: str
    server: str
    metric: str
    measure: Measure
    limit: float
    at_least: bool = False
    cases: tuple[str, ...] = ()
    other: str = ""

    def about(self, row: Row) -> bool:
        """Whether a row is judged by it."""
        named = row.group, row.server, row.metric
        return named == (self.group, self.server, self.metric) and row.case.startswith(self.cases or ("",))

    def figure(self, row: Row, rows: Rows) -> float | None:
        """Give what is set against the limit; None: what the row is compared with was not measured."""
        if self.measure in {Measure.RATIO, Measure.WORST_RATIO}:
            found = ratio_of(row, rows)
            return (stats.median(found) if self.measure is Measure.RATIO else min(found)) if found else None
        if self.measure in {Measure.AGAINST, Measure.BEYOND}:
            other = rows.get((row.group, row.case, self.other, row.metric))
            if other is None or not other.median:
                return None
            return row.median / other.median if self.measure is Measure.AGAINST else row.median - other.median
        if self.measure is Measure.WORST:
            return min(row.values) if self.at_least else max(row.values)
        return row.median


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target in one load; `figure` None: not measured."""

    target: Target
    case: str
    figure: float | None

    @property
    def word(self) -> str:
        """Say it in a word or two."""
        if self.figure is None:
            return "not measured"
        reached = self.figure >= self.target.limit if self.target.at_least else self.figure <= self.target.limit
        return "met" if reached else "missed"


def judge(rows: Rows) -> Iterator[Verdict]:
    """Judge every target: one verdict for each row that it is about, or one that says that there is none."""
    for target in TARGETS:
        found = [row for row in rows.values() if target.about(row)]
        for row in found:
            yield Verdict(target, row.case, target.figure(row, rows))
        if not found:
            yield Verdict(target, ", ".join(target.cases) or "-", None)


ONE, TWO = "millpond-1", "millpond-2"
_REGISTRIES = ("varnish", "squid", "apt-cacher-ng", "docker-registry", "verdaccio", "proxpi")
_SMALL_LOADS = ("a:", "b:", "e:")
TARGETS: tuple[Target, ...] = (
    Target("hits: aim .9 of nginx", "hits", ONE, RATE, Measure.RATIO, 0.9, at_least=True),
    Target("hits: at least .8 of nginx, always", "hits", ONE, RATE, Measure.WORST_RATIO, 0.8, at_least=True),
    Target(
        "hits: processor time beside nginx's (.8 of its rate would be 1.25)",
        "hits", ONE, PROCESSOR, Measure.RATIO, 1.25,
    ),
    Target(
        "hits: about level with nginx proxy_cache",
        "hits", ONE, RATE, Measure.AGAINST, 0.9, at_least=True, cases=_SMALL_LOADS, other="nginx-cache",
    ),
    *(
        Target(
            f"hits: well ahead of {peer}",
            "hits", ONE, RATE, Measure.AGAINST, 1.25, at_least=True, cases=_SMALL_LOADS, other=peer,
        )
        for peer in _REGISTRIES
    ),
    Target(
        "hits, two workers: at least .85 of nginx with two", "hits", TWO, RATE, Measure.RATIO, 0.85, at_least=True
    ),
    Target(
        "miss of 200 MiB, one core: at least .6 of nginx proxy_cache",
        "misses", ONE, RATE, Measure.RATIO, 0.6, at_least=True, cases=("200 MiB, 1 client, one core",),
    ),
    Target(
        "miss of 200 MiB, both cores: at least .9 of nginx proxy_cache",
        "misses", ONE, RATE, Measure.RATIO, 0.9, at_least=True, cases=("200 MiB, 1 client, both cores",),
    ),
    Target(
        "miss: first byte within 10 ms of upstream's own (ms)",
        "misses", ONE, "first byte behind upstream's", Measure.MEDIAN, 10,
    ),
    Target("herd: one upstream fetch, always", "herd", ONE, "upstream fetches", Measure.WORST, 1),
    Target(
        "8 clients of one cold object: at least 1.0 of nginx",
        "herd", ONE, RATE, Measure.RATIO, 1.0, at_least=True, cases=("200 MiB, 8 clients",),
    ),
    Target(
        "8 clients of one cold object: first byte within 10 ms of upstream's own (ms)",
        "herd", ONE, "first byte behind upstream's", Measure.MEDIAN, 10, cases=("200 MiB, 8 clients",),
    ),
    Target("hit p99 beside a busy miss, one core (ms)", "beside", ONE, "hit p99", Measure.MEDIAN, 6, cases=("a miss",)),
    Target(
        "hits beside a cold rewrite of a 20 MiB index: at least half",
        "beside", ONE, "hits beside / alone", Measure.MEDIAN, 0.5, at_least=True,
    ),
    Target("hit p99 beside that rewrite (ms)", "beside", ONE, "hit p99", Measure.MEDIAN, 10, cases=("cold rewrites",)),
    Target(
        "memory over idle beside a rewrite of a 120 MiB packument (MiB)",
        "beside", ONE, "memory over idle", Measure.WORST, 128, cases=("cold rewrites of 120",),
    ),
    Target(
        "memory over idle beside the reading of a 60 MiB Debian index (MiB)",
        "beside", ONE, "memory over idle", Measure.WORST, 128, cases=("cold readings of 60",),
    ),
    Target(
        "memory over idle beside the reading of a 150 MB primary.xml (MiB)",
        "beside", ONE, "memory over idle", Measure.WORST, 128, cases=("cold readings of 150",),
    ),
    *(
        Target(f"memory over idle, always ({server}, MiB)", "memory", server, "memory over idle", Measure.WORST, 128)
        for server in (ONE, TWO)
    ),
    Target("memory idle with one worker (MiB)", "memory", ONE, "memory", Measure.MEDIAN, 100),
    Target("memory idle for one worker more (MiB)", "memory", TWO, "memory", Measure.BEYOND, 60, other=ONE),
    *(
        Target(f"start to first request served ({server}, s)", "startup", server, "first request served",
               Measure.MEDIAN, 1)
        for server in (ONE, TWO)
    ),
    *(
        Target(f"no turn of the event loop over 20 ms, always ({server}, looks that found one)", "lag", server,
               "looks that found over 20 ms", Measure.WORST, 0)
        for server in (ONE, TWO)
    ),
    Target("no turn of the event loop over 20 ms, always", "turns", ONE, "turns over 20 ms", Measure.WORST, 0),
    Target(
        "one million entries: first look-ups unchanged",
        "entries", ONE, "first look-ups / among few", Measure.MEDIAN, 0.9, at_least=True,
    ),
    Target(
        "one million entries: hits unchanged", "entries", ONE, "hits / among few", Measure.MEDIAN, 0.9, at_least=True
    ),
    Target("gc of 100,000 (s)", "entries", ONE, "gc of 100,000", Measure.WORST, 60),
    Target("hit p99 beside that gc (ms)", "entries", ONE, "hit p99 beside gc", Measure.WORST, 20),
    Target("memory of the hit table (MiB)", "entries", ONE, "memory of 25,000 hits", Measure.WORST, 128),
    Target(
        "pre-pull to 5 hosts: upstream bytes of one copy, of five by hand",
        "prepull", ONE, "bytes from upstream", Measure.AGAINST, 0.21, other="docker-pull",
    ),
    Target(
        "a poll of 10 projects with 10,000 issues (s of our processor)",
        "delivery", ONE, "processor time of a poll", Measure.MEDIAN, 2,
    ),
    Target(
        "a poll that finds nothing new: within 60 requests a minute",
        "delivery", ONE, "requests of a poll", Measure.WORST, 60, cases=("10 projects, 10,000 issues: nothing new",),
    ),
    Target("nudge to job started (ms)", "delivery", "sqlite", "nudge to claimed job", Measure.MEDIAN, 100),
    Target("board to job started, a whole daemon (ms)", "delivery", ONE, "board to started job", Measure.MEDIAN, 100),
    Target("jobs claimed on SQLite (each s)", "delivery", "sqlite", "claims", Measure.MEDIAN, 1000, at_least=True),
    Target("growth when it is full (MiB)", "entries", ONE, "memory of 25,000 more", Measure.WORST, 16),
)  # fmt: skip
"""A line each of what is to be reached. "Unchanged" and "about level" are .9, "well ahead" is 1.25; hits are not held
up by a collection while their p99 stays within one turn of the event loop; a full table may grow by 16 MiB of noise."""
