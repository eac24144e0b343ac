"""A real Plane, where there is one: the conformance kit, and a listing, through its API.

``MILLPOND_TEST_PLANE`` names a JSON file: ``url``, ``workspace``, ``token``, ``project`` (the id of one that does not
matter: issues are made in it, and columns are needed, two at least). It takes some minutes: a key may ask 60 times a
minute.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from millpond.adapters.plane import Plane, PlaneOptions
from millpond.clock import SystemClock
from millpond.delivery.model import Project
from millpond.delivery.ports import Tracker
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Rate
from millpond.testing.tracker import TrackerConformance

NAMED = os.environ.get("MILLPOND_TEST_PLANE", "")
pytestmark = [
    pytest.mark.client,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not NAMED, reason="no Plane here: MILLPOND_TEST_PLANE names none"),
]
CLOCK = SystemClock()
BUDGET = RateBudget(Rate(45), CLOCK.monotonic)


@pytest.fixture(scope="module")
def there() -> dict[str, str]:
    return dict(json.loads(Path(NAMED).read_text()))


@pytest.fixture
def project(there: dict[str, str]) -> Project:
    return Project("real", there["project"], "team/real", "RE")


@pytest_asyncio.fixture
async def tracker(there: dict[str, str]) -> AsyncIterator[Plane]:
    options = PlaneOptions(there["url"], there["workspace"], there["token"], "a-secret")
    tracker = Plane(options, CLOCK, budget=BUDGET)
    yield tracker
    await tracker.close()


@pytest_asyncio.fixture
async def issue(there: dict[str, str]) -> str:
    place = f"{there['url']}/api/v1/workspaces/{there['workspace']}/projects/{there['project']}/work-items/"
    body: dict[str, Any] = {"name": "Made by a test of Millpond"}
    headers = {"X-Api-Key": there["token"]}
    async with aiohttp.ClientSession() as session, session.post(place, json=body, headers=headers) as reply:
        assert reply.status == 201, await reply.text()
        return str((await reply.json())["id"])


class TestConformance(TrackerConformance):
    async def test_what_came_since_the_mark_is_listed(self, tracker: Tracker, project: Project, issue: str) -> None:
        first, second = [state.id for state in await tracker.states(project)][:2]
        await tracker.move(project, issue, first)
        listing = await tracker.changed(project, frozenset({second}), 0.0)
        assert listing.complete
        await tracker.move(project, issue, second)
        later = await tracker.changed(project, frozenset({second}), listing.mark)
        assert [one.id for one in later.issues] == [issue]
