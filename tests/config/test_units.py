"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.config.units import MAX_SIZE_BYTES, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("1KiB", 1024),
        ("1KB", 1000),
        ("1.5 MiB", 3 << 19),
        ("500MB", 500_000_000),
        ("50GiB", 50 << 30),
        ("2gb", 2_000_000_000),
        ("1TiB", 1 << 40),
        (" 3TB ", 3_000_000_000_000),
    ],
)
def test_a_size_has_binary_or_decimal_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1GiB", "1 parsec", "1e9", "1GiB2", "0x10", "1,5GiB", "9" * 40, "\u0661GiB"]
)
def test_what_is_no_size_is_refused_in_words(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_a_size_beyond_any_disk_is_refused():
    with pytest.raises(ValueError, match="larger than any disk"):
        parse_size("99999999999TiB")


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_written_size_reads_back_as_the_same_number(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("1.5w", 907200)]
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "1y", "1 d ay", "inf", "nan", "200000d"])
def test_what_is_no_duration_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"is not a duration|longer than a hundred years"):
        parse_duration(text)
