"""The fake forge is one."""

from __future__ import annotations

import pytest

from millpond.delivery.model import Project
from millpond.testing.forge import FakeForge, ForgeConformance


class TestTheFake(ForgeConformance):
    @pytest.fixture
    def project(self) -> Project:
        return Project("shop", "p1", "team/shop", "SH")

    @pytest.fixture
    def forge(self) -> FakeForge:
        return FakeForge({"team/shop:feature/x": "a" * 40})

    @pytest.fixture
    def branch(self) -> str:
        return "feature/x"
