"""The pruner's settings: what is wrong is ignored, one by one, and never stops anything."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hosts.test_until import HOSTILE

from millpond.hosts.model import PruneOptions
from millpond.hosts.settings import sound
from millpond.hosts.until import go_duration

WRONG = {
    "interval_s": [0, -1, -0.1, "3600", "", None, True, [], {}, float("nan"), float("inf"), "6h"],
    "timeout_s": [0, -120, "x", None, False, float("-inf"), [120]],
    "notify_min_gb": [-1, -0.001, "1", None, True, float("nan")],
    "until": [*HOSTILE, None, 0, -24, 1.5, True, [], {"env": "X"}],
    "enabled": ["maybe", "", None, 2, 0.0, []],
    "all": ["all", None, 1, {}],
    "intervall_s": [3600],
    "": [1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_ignored_with_its_key_and_a_reason(key: str, value: object):
    taken, wrong = sound({key: value, "timeout_s" if key != "timeout_s" else "interval_s": 7})
    assert key not in taken
    assert len(taken) == 1, "what is right beside it stays"
    ((where, why),) = wrong
    assert where == key
    assert why


def test_right_values_are_taken_as_they_are():
    written = {"enabled": False, "interval_s": 1, "until": "7d", "all": True, "timeout_s": 0.5, "notify_min_gb": 2.5}
    assert sound(written) == (written, ())
    assert sound({"until": 24}) == ({"until": "24"}, ())
    assert sound({}) == ({}, ())


@pytest.mark.parametrize(
    ("text", "means"), [("false", False), ("off", False), ("No", False), ("0", False), ("on", True)]
)
def test_a_kill_switch_in_words_is_one(text: str, means: bool):
    assert sound({"enabled": text}) == ({"enabled": means}, ())


@pytest.mark.parametrize("table", [None, 5, "24h", [], [{}], True, 1.5])
def test_what_is_no_table_is_ignored_whole(table: object):
    taken, wrong = sound(table)
    assert (taken, [key for key, _ in wrong]) == ({}, [""])


def test_a_misspelled_key_is_told_what_was_meant():
    assert sound({"intervals": 3})[1] == (("intervals", 'unknown key; did you mean "interval_s"?'),)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from([*asdict(PruneOptions())]) | st.text(max_size=8), VALUES) | VALUES)
def test_whatever_is_written_gives_options_that_can_run(written: object):
    options = PruneOptions(**sound(written)[0])  # type: ignore[arg-type]
    assert 0 < options.interval_s < float("inf")
    assert 0 < options.timeout_s < float("inf")
    assert 0 <= options.notify_min_gb < float("inf")
    assert go_duration(options.until)
    assert (type(options.enabled), type(options.all)) == (bool, bool)
