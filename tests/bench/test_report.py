from __future__ import annotations

import pytest
from tests.bench.figures import row, table

from bench import report, targets
from bench.__main__ import parser
from bench.loads import GROUPS


@pytest.mark.parametrize(
    ("value", "text"), [(136_482.4, "136,482"), (0.8731, "0.873"), (12.345, "12.3"), (1.0, "1"), (0, "0"), (100, "100")]
)
def test_figures_have_the_digits_they_are_worth(value, text):
    assert report.number(value) == text


def test_a_row_has_median_spread_ratio_and_its_command():
    rows = table(row("nginx", 100, 100), row("millpond-1", 90, 80))
    line = report.table(rows, "hits").splitlines()[-1]
    assert line == (
        "| a: 2 KiB | millpond-1 | rate | 85 requests/s | 12% | 0.85 "
        "| `python -m bench --only hits --servers millpond-1,nginx` |"
    )


@pytest.mark.parametrize(
    ("one", "command"),
    [
        (row("nginx-2", 1), "--only hits --servers nginx-2"),
        (row("millpond-2", 1), "--only hits --servers millpond-2,nginx-2"),
        (row("millpond-1", 1, group="herd"), "--only herd --servers millpond-1,nginx-cache"),
        (row("millpond-1", 1, group="memory"), "--only memory --servers millpond-1"),
        (row("millpond-1", 1, group="lag", case="beside: a miss"), "--only beside --servers millpond-1"),
    ],
)
def test_a_command_measures_the_row_again_with_what_it_is_set_against(one, command):
    assert report.command(one) == f"python -m bench {command}"
    assert parser().parse_args(report.command(one).split()[3:])


def test_every_group_has_its_title():
    assert {group.name for group in GROUPS} <= report.TITLES.keys()
    assert {target.group for target in targets.TARGETS} <= report.TITLES.keys()


def test_a_missed_target_stands_out():
    rows = table(row("nginx", 100), row("millpond-1", 50))
    text = report.markdown(rows, {"cores": 2}, "ratios.svg")
    assert "| hits: aim .9 of nginx | a: 2 KiB | 0.5 | at least 0.9 | **missed** |" in text
    assert "(ratios.svg)" in text
    assert "2 cores" in text


def test_a_report_tells_which_parts_are_of_an_earlier_run():
    one = {"at": "monday", "commit": "a1", "rounds": 3, "seconds": 2, "load_before": 0.1}
    told = {"at": "tuesday", "commit": "b2", "runs": {"hits": one, "misses": one | {"at": "tuesday", "commit": "b2"}}}
    text = report.markdown(table(row("nginx", 1)), told)
    assert "- hits: monday, commit a1, 3 rounds of 2 s; load average before: 0.1" in text
    assert "- misses" not in text
