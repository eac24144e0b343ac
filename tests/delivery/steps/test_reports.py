from __future__ import annotations

import pytest

from millpond.delivery.steps.reports import Counts, read


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("..\n===== 12 passed, 1 skipped in 3.21s =====\n", Counts(12, 0)),
        ("= 2 failed, 3 passed, 1 error in 61.02s (0:01:01) =\n", Counts(3, 3)),
        ("4 passed in 0.01s\n", Counts(4, 0)),
        ("no tests ran in 0.01s\n", Counts(0, 0)),
        ("Ran 5 tests in 0.001s\n\nOK\n", Counts(5, 0)),
        ("Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=2, skipped=1)\n", Counts(1, 3)),
        ("Ran 0 tests in 0.000s\n\nOK\n", Counts(0, 0)),
        ("test result: ok. 7 passed; 0 failed; 1 ignored\ntest result: FAILED. 1 passed; 2 failed;\n", Counts(8, 2)),
        ("Tests:       1 failed, 2 skipped, 5 passed, 8 total\n", Counts(5, 1)),
        ("Tests:       5 passed, 5 total\n", Counts(5, 0)),
        ("ok  \tshop\t0.01s\n?   \tshop/x\t[no test files]\nok  \tshop/y\t0.2s\n", Counts(2, 0)),
        ("--- FAIL: TestX (0.00s)\nFAIL\tshop\t0.01s\n", Counts(0, 2)),
        ("# pass 3\n# fail 1\n", Counts(3, 1)),
        ("3 passed in 1s\nTests: 1 failed, 1 total\n", Counts(3, 1)),
    ],
)
def test_what_known_tools_say_at_their_end(text: str, counts: Counts):
    assert read(text) == counts


@pytest.mark.parametrize("text", ["", "all is well\n", "it passed in the end\n", "I ran 5 tests\n", "\x1b[31m\n" * 5])
def test_other_words_are_no_report(text: str):
    assert read(text) is None


def test_a_long_line_is_read_in_linear_time():
    assert read("1 passed" * 20_000) is None
