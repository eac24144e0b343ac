"""Loading a configuration from a text, in a folder of its own."""

from __future__ import annotations

import pytest

from millpond.config import Kinds, PackageKind, load
from millpond.errors import ConfigError

KINDS = Kinds(
    {
        "generic": PackageKind(600.0, ("remote", "local"), takes_digests=True),
        "pypi": PackageKind(600.0, adoptable=True),
    }
)


@pytest.fixture
def kinds():
    return KINDS


@pytest.fixture
def loaded(tmp_path):
    """Load `text` as ./millpond.toml."""

    def load_text(text="", environ=None, overrides=None):
        (tmp_path / "millpond.toml").write_text(text)
        return load(None, environ=environ or {}, overrides=overrides or {}, cwd=tmp_path, kinds=KINDS)

    return load_text


@pytest.fixture
def problems(loaded):
    """The lines that a text is refused with."""

    def refuse(text="", environ=None, overrides=None):
        with pytest.raises(ConfigError) as caught:
            loaded(text, environ, overrides)
        return list(caught.value.problems)

    return refuse
