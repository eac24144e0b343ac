"""`until`: what is taken, what is sent, and a hundred hostile values that are not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts.until import go_duration

SENT = {
    "24h": "24h", "24": "24h", "1": "1h", "7d": "168h", "2w": "336h", "30m": "30m", "90s": "90s", "1d": "24h",
    "007d": "168h", "0000000000024h": "24h", "876000h": "876000h", "36500d": "876000h", "1000000s": "1000000s",
}  # fmt: skip
HOSTILE = [
    "", " ", "0", "0h", "0d", "000", "0w", "0s", "0m", "00000h", "-1", "-1h", "+1h", "-24h", "1.5h", "1,5h", ".5h",
    "1e3h",
    "1 h", " 24h", "24h ", "24h\n", "\n24h", "24\n", "24h\r\n", "24h\0", "\x0024h", "24H", "24D", "24W", "24M", "24S",
    "24hh", "24h24h", "1h30m", "1d12h", "24hours", "24 hours", "1y", "1mo", "24ms", "24us", "24ns", "h", "d", "hd",
    "abc",
    "nan", "inf", "-inf", "NaN", "None", "null", "true", "false", "0x18", "0o30", "0b11", "1_000h", "\u0662\u0664h",
    "\uff12\uff14h",
    "²h", "24\u200bh", "24\u00a0h", "24h;id", "24h && id", "$(id)", "`id`", "24h|id", "24h,label=x", "24h=x",
    "until=24h", "--filter", "-a", "--all", "-f", "24h -a", "24h --all", "'24h'", '"24h"', "24h'", "../24h", "24h/..",
    "99999999999999999999h", "876000000h", "99999999w", "9" * 21, "9" * 1000, "1" * 100_000, "2024-01-01",
    "2024-01-01T00:00:00Z", "1700000000", "@1700000000", "now", "yesterday", "24h ago", "%s", "{{json .}}", "24h\u2028",
    "24h\x0b", "24h\x1f", "\ufeff24h", "24\ud83d\ude00h", "a" * 10_000, "h24", "d7", "24h#", "*", "?", "[0-9]h", "~",
    "!",
]  # fmt: skip


def test_there_are_a_hundred_of_them():
    assert len(set(HOSTILE)) >= 100


@pytest.mark.parametrize(("until", "sent"), SENT.items())
def test_docker_is_sent_a_go_duration(until: str, sent: str):
    assert go_duration(until) == sent


@pytest.mark.parametrize("until", HOSTILE, ids=lambda until: ascii(until)[:40])
def test_what_is_no_age_is_refused_with_what_would_be(until: str):
    with pytest.raises(ValueError, match=r"write|hundred years"):
        go_duration(until)


@given(st.text(max_size=30))
def test_nothing_but_a_number_and_a_unit_is_ever_sent(until: str):
    try:
        sent = go_duration(until)
    except ValueError:
        return
    assert re.fullmatch(r"[0-9]+[smhdw]?", until, re.ASCII)
    assert re.fullmatch(r"[1-9][0-9]{0,9}[smh]", sent, re.ASCII)


@given(st.integers(1, 5_000), st.sampled_from("hdw") | st.just(""))
def test_days_and_weeks_are_as_many_hours(number: int, unit: str):
    hours = {"": 1, "h": 1, "d": 24, "w": 168}[unit]
    assert go_duration(f"{number}{unit}") == f"{number * hours}h"
