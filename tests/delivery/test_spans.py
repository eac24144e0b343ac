"""Spans in words."""

from __future__ import annotations

import pytest

from millpond.delivery.spans import span


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-3, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (86400, "24 h"),
     (172_800, "2 d")],
)  # fmt: skip
def test_a_span_is_told_in_the_unit_that_a_person_would_choose(seconds: float, told: str):
    assert span(seconds) == told
