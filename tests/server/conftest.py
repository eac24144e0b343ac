"""Here the start itself counts: signals amid it, workers that are forked, what is on the command line."""

from __future__ import annotations

from functools import partial

import pytest
from tests.conftest import MakePond


@pytest.fixture
def make_pond(make_pond: MakePond) -> MakePond:
    return partial(make_pond, fresh=True)
