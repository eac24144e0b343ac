"""The fake tracker is one."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from millpond.delivery.model import Hint, Project, State
from millpond.errors import BadRequest
from millpond.testing.tracker import FakeTracker, TrackerConformance


class TestTheFake(TrackerConformance):
    @pytest.fixture
    def project(self) -> Project:
        return Project("shop", "p1", "team/shop", "SH")

    @pytest.fixture
    def tracker(self, project: Project) -> FakeTracker:
        made = FakeTracker({"shop": [State("a", "A"), State("b", "B")]})
        made.put(project, "i1", state="a")
        return made

    @pytest.fixture
    def issue(self) -> str:
        return "i1"


def test_a_signed_webhook_is_read():
    tracker = FakeTracker(secret=b"s")
    body = b'{"project": "p1", "issue": "i1"}'
    signed = {"X-Signature": hmac.new(b"s", body, hashlib.sha256).hexdigest()}
    assert tracker.parse(signed, body) == Hint("p1", "i1")
    with pytest.raises(BadRequest):
        tracker.parse({"X-Signature": hmac.new(b"s", b"[]", hashlib.sha256).hexdigest()}, b"[]")
