"""Which troubles are told."""

from __future__ import annotations

from millpond.delivery import troubles
from millpond.delivery.troubles import Troubles


def test_a_trouble_is_told_when_it_begins_changes_and_ends():
    of = Troubles()
    assert of.new("shop", "i1", "down")
    assert not of.new("shop", "i1", "down")
    assert not of.new("shop", "i2", "down")  # the same, of another issue
    assert of.new("till", "i1", "down")
    assert of.new("shop", "i1", "")
    assert not of.over("shop", "i3")
    assert of.over("shop", "i1")
    assert of.over("shop", "i2")
    assert not of.over("shop", "i2")


def test_no_more_are_remembered_than_fit(monkeypatch):
    monkeypatch.setattr(troubles, "MOST", 2)
    of = Troubles()
    for name in ("i1", "i2", "i3"):
        assert of.new("shop", name, name)
    assert not of.over("shop", "i1")
    assert of.over("shop", "i3")
