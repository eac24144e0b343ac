"""Formats that other packages register."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from millpond.artifacts import formats
from millpond.artifacts.formats import BUILT_IN, Formats
from millpond.errors import ConfigError


def registered(monkeypatch: pytest.MonkeyPatch, **objects: str) -> Formats:
    points = [EntryPoint(name, value, "millpond.formats") for name, value in objects.items()]
    monkeypatch.setattr(formats, "entry_points", lambda group: [one for one in points if one.group == group])
    return Formats(BUILT_IN)


def test_the_built_in_formats_are_there_without_looking_further(monkeypatch: pytest.MonkeyPatch):
    def fail(group: str) -> Any:
        raise AssertionError(group)

    monkeypatch.setattr(formats, "entry_points", fail)
    assert Formats(BUILT_IN)["pypi"].name == "pypi"


def test_a_registered_class_is_made(monkeypatch: pytest.MonkeyPatch):
    found = Formats((BUILT_IN[0],))
    points = [EntryPoint("pypi", "millpond.artifacts.formats.pypi:PyPI", "millpond.formats")]
    monkeypatch.setattr(formats, "entry_points", lambda group: points if group == "millpond.formats" else [])
    assert list(found) == ["generic", "pypi"]
    assert found["pypi"].default_ttl_s == 600


def test_a_built_in_name_is_not_taken_over(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="'pypi', which is built in"):
        list(registered(monkeypatch, pypi="millpond.artifacts.formats.generic:Generic"))


def test_one_that_can_not_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="'conan' of no_such_module:X can't be loaded"):
        len(registered(monkeypatch, conan="no_such_module:X"))


@pytest.mark.parametrize("value", ["json:dumps", "millpond.artifacts.formats.generic:Generic"])
def test_one_that_is_no_format_of_its_name_is_refused(monkeypatch: pytest.MonkeyPatch, value: str):
    with pytest.raises(ConfigError, match="which is no format of that name"):
        registered(monkeypatch, conan=value)["conan"]
