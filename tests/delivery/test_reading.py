"""Values that a person wrote, read with their limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.reading import MAX_ITEMS, Mistakes, Table, nearest

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def test_a_mistake_has_its_place_and_what_was_meant():
    mistakes = Mistakes("pipeline.toml")
    table = Table({"inner": {"colour": "rad"}}, "", mistakes).table("inner")
    assert table.choice("colour", ["red", "blue"], "blue") == "blue"
    assert [str(one) for one in mistakes.found] == [
        'pipeline.toml: inner.colour: "rad" is not known; did you mean "red"?'
    ]
    assert nearest("zzz", ["b", "a"]) == "write one of a, b"


def test_numbers_have_limits_and_true_is_none():
    mistakes = Mistakes("f")
    table = Table({"a": True, "b": 11, "c": float("nan"), "d": 1.5, "e": 5}, "", mistakes)
    assert [table.whole(key, 7, 0, 10) for key in "abcde"] == [7, 7, 7, 7, 5]
    assert [one.key for one in mistakes.found] == ["a", "b", "c", "d"]


def test_lists_have_limits():
    mistakes = Mistakes("f")
    assert len(Table({"a": ["x"] * 1000}, "", mistakes).texts("a")) == MAX_ITEMS
    assert len(mistakes.found) == 1


@settings(deadline=None)
@given(ANYTHING)
def test_whatever_is_written_nothing_raises(value: object):
    table = Table({"a": value}, "", Mistakes("f"))
    table.text("a")
    table.number("a", 1, 0, 2)
    table.whole("a", 1, 0, 2)
    table.flag("a")
    table.texts("a")
    table.tables("a")
    table.settings("a")
    table.choice("a", ["b"], "b")
    table.json(value, "a")
    table.close()
