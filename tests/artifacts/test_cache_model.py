"""The cache against a simple model of what the contract promises, driven by hypothesis through the ASGI application.

The upstream is a real HTTP server on loopback that changes, fails and comes back; the clock is the test's own. The
model says beforehand what each request must give: status, bytes, Age, Cache-Status, and what the upstream is asked.
2,000 steps by default, always the same ones; MILLPOND_TEST_STEPS=100000 takes that many, with new seeds that it prints.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.artifacts.modelled.events import Events
from tests.artifacts.modelled.things import (
    LONG,
    PER_EXAMPLE,
    SHARDS,
    STEPS,
    done,
)

pytestmark = pytest.mark.whole


@pytest.mark.timeout(14_400 if LONG else 600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_cache_agrees_with_its_model(shard):
    done.clear()
    steps = STEPS // SHARDS
    first = random.SystemRandom().randrange(2**31) if LONG else 1000 * shard
    options = settings(
        max_examples=20, stateful_step_count=PER_EXAMPLE, deadline=None, database=None, print_blob=True,
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    for number in range(first, first + steps):
        print(f"{done['steps']} of {steps} steps, {done['evictions']} evictions; next seed {number}", flush=True)  # noqa: T201 - shown when it fails
        if done["steps"] >= steps:
            return
        run_state_machine_as_test(seed(number)(type("Cache", (Events,), {})), settings=options)
