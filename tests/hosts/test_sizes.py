"""Sizes as Docker prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts.sizes import read_size, write_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("12B", 12),
        ("1.5kB", 1500),
        ("929.5MB", 929_500_000),
        ("11.05GB", 11_050_000_000),
        ("2TB", 2 * 10**12),
        ("1KiB", 1024),
        ("1.5GiB", 1_610_612_736),
        ("3 MB", 3_000_000),
        ("7", 7),
        (" 1GB\t", 10**9),
        ("1e+03kB", 10**6),
    ],
)
def test_decimal_and_binary_units_become_bytes(text: str, size: int):
    assert read_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "B", "GB", "-1B", "1.GB", ".5GB", "1,5GB", "1GBx", "1 2GB", "1iB", "NaN", "N/A", "9" * 99]
)
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match="no size"):
        read_size(text)


@given(st.integers(0, 10**19))
def test_what_is_written_reads_back_to_four_digits(size: int):
    assert abs(read_size(write_size(size)) - size) <= size * 0.0006
