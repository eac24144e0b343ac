"""What a test run says of itself at its end: how many tests passed and failed. PURE.

Known are the last lines of pytest, unittest, Jest, Cargo, Go and TAP. A log may hold several; they are added up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PYTEST = re.compile(
    r"^(?:=+ )?(?P<told>(?:no tests ran|\d+ (?:passed|failed|errors?|skipped|deselected|x\w+|warnings?)).{0,200})"
    r" in \d[^\n]{0,40}$",
    re.MULTILINE,
)
_COUNT = re.compile(r"(\d+) (passed|failed|error)")
_UNITTEST = re.compile(r"^Ran (\d+) tests? in [^\n]{1,40}\n\n?(OK|FAILED)([^\n]{0,200})", re.MULTILINE)
_BAD = re.compile(r"(?:failures|errors|unexpected successes)=(\d+)")
_SKIPPED = re.compile(r"skipped=(\d+)")
_CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)
_JEST = re.compile(
    r"^Tests: {1,10}(?:(\d+) failed, )?(?:\d+ skipped, )?(?:\d+ todo, )?(?:(\d+) passed, )?\d+ total", re.MULTILINE
)
_GO = re.compile(r"^(ok  |FAIL|--- FAIL:)[ \t]", re.MULTILINE)
_TAP = re.compile(r"^# (pass|fail)(?:ed)? {1,4}(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tests passed, and failed."""

    passed: int
    failed: int


def read(text: str) -> Counts | None:
    """Read what is told at the end of a log; None: nothing that is known."""
    found = [*_pytest(text), *_unittest(text), *_cargo(text), *_jest(text), *_go(text), *_tap(text)]
    if not found:
        return None
    return Counts(sum(one.passed for one in found), sum(one.failed for one in found))


def _pytest(text: str) -> list[Counts]:
    made = []
    for match in _PYTEST.finditer(text):
        counts = dict.fromkeys(("passed", "failed", "error"), 0)
        for number, word in _COUNT.findall(match["told"]):
            counts[word] += int(number)
        made.append(Counts(counts["passed"], counts["failed"] + counts["error"]))
    return made


def _unittest(text: str) -> list[Counts]:
    made = []
    for ran, word, rest in _UNITTEST.findall(text):
        bad = sum(int(number) for number in _BAD.findall(rest)) or (1 if word == "FAILED" else 0)
        skipped = sum(int(number) for number in _SKIPPED.findall(rest))
        made.append(Counts(max(int(ran) - bad - skipped, 0), bad))
    return made


def _cargo(text: str) -> list[Counts]:
    return [Counts(int(passed), int(failed)) for passed, failed in _CARGO.findall(text)]


def _jest(text: str) -> list[Counts]:
    return [Counts(int(passed or 0), int(failed or 0)) for failed, passed in _JEST.findall(text)]


def _go(text: str) -> list[Counts]:
    """Count packages, which is what Go tells of without ``-v``; a failed test counts, too."""
    words = _GO.findall(text)
    return [Counts(words.count("ok  "), len(words) - words.count("ok  "))] if words else []


def _tap(text: str) -> list[Counts]:
    told = {word: int(number) for word, number in _TAP.findall(text)}
    return [Counts(told.get("pass", 0), told.get("fail", 0))] if told else []
