"""Adopted upstreams become repositories."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Skipped
from millpond.config import packages_to_adopt, with_adopted
from millpond.errors import ConfigError

FOUND = Adopted("pypi", "pypi", "https://corp.example/simple/", "PIP_INDEX_URL", "me", "secret")
ADOPT = '[repositories.python]\npackage = "pypi"\nbase_url = "adopt"\n'
LOCAL = '[repositories.files]\npackage = "generic"\ntype = "local"\n'


def test_without_repositories_each_adopted_upstream_becomes_one(loaded, kinds):
    config = loaded()
    assert packages_to_adopt(config, kinds) == ("pypi",)
    filled = with_adopted(config, [FOUND, Skipped("npm", "not there")])
    pypi = filled.repositories["pypi"]
    assert list(filled.repositories) == ["pypi"]
    assert (pypi.type, pypi.base_url, pypi.found_in) == ("remote", FOUND.base_url, "PIP_INDEX_URL")
    assert pypi.check_mutable_updates is True
    assert (pypi.username.get_secret_value(), pypi.password.get_secret_value()) == ("me", "secret")


def test_a_repository_that_says_adopt_is_filled_in_under_its_own_name(loaded, kinds):
    config = loaded(ADOPT + LOCAL)
    assert packages_to_adopt(config, kinds) == ("pypi",)
    filled = with_adopted(config, [FOUND])
    assert filled.repositories["python"].base_url == FOUND.base_url
    assert filled.repositories["files"] == config.repositories["files"]
    assert config.repositories["python"].base_url == "adopt"


def test_nothing_is_adopted_where_every_address_is_written(loaded, kinds):
    config = loaded(LOCAL)
    assert packages_to_adopt(config, kinds) == ()
    assert with_adopted(config, [FOUND]).repositories == config.repositories


def test_credentials_of_the_configuration_win_over_adopted_ones(loaded):
    repository = with_adopted(loaded(ADOPT + 'password = "own"'), [FOUND]).repositories["python"]
    assert repository.username is None
    assert repository.password.get_secret_value() == "own"


def test_what_cannot_be_adopted_is_a_mistake_with_its_reason(loaded):
    with pytest.raises(ConfigError) as caught:
        with_adopted(loaded(ADOPT), [Skipped("pypi", "the index is a folder")])
    assert caught.value.problems == ('[repositories.python] base_url: "adopt": the index is a folder',)


def test_the_source_of_an_adopted_address_is_shown_and_its_password_is_not(loaded):
    shown = with_adopted(loaded(), [FOUND]).masked()["repositories"]["pypi"]
    assert (shown["found_in"], shown["password"], shown["base_url"]) == ("PIP_INDEX_URL", "********", FOUND.base_url)
