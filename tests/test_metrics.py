"""Counters add up, in text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millpond.metrics import Metrics


@pytest.mark.parametrize(
    ("outcome", "hits", "misses"),
    [("hit", 1, 0), ("stale", 1, 0), ("revalidated", 1, 0), ("local", 1, 0), ("miss", 0, 1)],
)
def test_everything_but_a_miss_is_a_hit(outcome, hits, misses):
    metrics = Metrics()
    metrics.served("r", outcome, 7)
    values = metrics.values()
    assert values.get('millpond_cache_hits_total{repository="r"}', 0) == hits
    assert values.get('millpond_cache_misses_total{repository="r"}', 0) == misses
    assert values[f'millpond_requests_total{{outcome="{outcome}",repository="r"}}'] == 1
    assert values[f'millpond_served_bytes_total{{outcome="{outcome}",repository="r"}}'] == 7


def test_many_can_be_counted_at_once():
    metrics = Metrics()
    metrics.served("r", "hit", 700, 100)
    assert metrics.values()['millpond_cache_hits_total{repository="r"}'] == 100
    assert metrics.values()['millpond_served_bytes_total{outcome="hit",repository="r"}'] == 700


def test_each_event_has_its_counter():
    metrics = Metrics()
    metrics.refused("r", 404)
    metrics.fetched("r", 10)
    metrics.revalidating("r")
    metrics.joined("r")
    metrics.upstream_failed("r", "timeout")
    metrics.upstream("r", "open", 0.25)
    metrics.disk("used", 5)
    metrics.flying(2)
    metrics.lagged(0.003)
    metrics.usage_dropped(4)
    values = metrics.values()
    expected = {
        'millpond_errors_total{repository="r",status="404"}': 1,
        'millpond_fetched_bytes_total{repository="r"}': 10,
        'millpond_revalidations_total{repository="r"}': 1,
        'millpond_flights_joined_total{repository="r"}': 1,
        'millpond_upstream_errors_total{kind="timeout",repository="r"}': 1,
        'millpond_upstream_state{repository="r"}': 2,
        'millpond_upstream_latency_seconds{repository="r"}': 0.25,
        'millpond_disk_bytes{what="used"}': 5,
        "millpond_flights": 2,
        "millpond_event_loop_lag_seconds_count": 1,
        'millpond_event_loop_lag_seconds_bucket{le="0.005"}': 1,
        'millpond_event_loop_lag_seconds_bucket{le="0.001"}': 0,
        "millpond_usage_dropped": 4,
    }
    assert {name: values.get(name) for name in expected} == expected


def test_text_and_json_say_the_same():
    metrics = Metrics()
    metrics.served('odd"name', "hit", 3)
    lines = metrics.text().decode().splitlines()
    told = {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}
    assert len(told) == len(metrics.values())
    assert any('odd\\"name' in line for line in lines)


def test_two_of_them_do_not_mix():
    one, two = Metrics(), Metrics()
    one.fetched("r", 1)
    assert 'millpond_fetched_bytes_total{repository="r"}' not in two.values()


GROWING = """
import json, pathlib, resource, sys
from millpond.metrics import Metrics
folder, limit, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
metrics = Metrics(folder)
metrics.fetched("first", 1)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for number in range(count):
    metrics.fetched(f"repository-{number:06}", 1)
metrics.fetched("first", 1)
seen = {name: value for name, value in metrics.values().items() if name.startswith("millpond_fetched")}
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
metrics.fetched("last", 1)
told = {name: sum(name in key for key in metrics.values()) for name in ("first", "last")}
files = [(path.stat().st_size, path.stat().st_blocks * 512) for path in sorted(folder.glob("*.db"))]
print(json.dumps({"sum": sum(seen.values()), "series": len(seen), "told": told, "files": files}))
"""


def grown(folder: Path, limit: int, count: int) -> dict:
    """Count for many repositories in a process of its own, whose files may reach `limit` bytes (0: any)."""
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    argv = [sys.executable, "-c", GROWING, str(folder), str(limit), str(count)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.process
def test_a_file_of_values_that_grows_has_its_disk_behind_it(tmp_path):
    seen = grown(tmp_path, 0, 12_000)
    assert seen["sum"] == 12_002
    assert max(size for size, _ in seen["files"]) > 1 << 20, "it did grow"
    assert [size for size, written in seen["files"] if written < size] == []


@pytest.mark.process
def test_without_room_for_more_of_it_new_values_are_the_process_s_own_and_the_old_ones_go_on(tmp_path):
    seen = grown(tmp_path, 1 << 20, 12_000)
    assert 1_000 < seen["series"] < 12_000
    assert seen["sum"] == seen["series"] + 1, "the first one counted on"
    assert seen["told"] == {"first": 1, "last": 1}, "and with room again so do new ones"
    assert [size for size, written in seen["files"] if written < size] == []


def test_how_the_delivery_stands_is_told():
    metrics = Metrics()
    metrics.looked(3)
    metrics.nudged("poll", 2)
    metrics.hooked("plane", 401)
    metrics.tracker_asked("get", "failed")
    metrics.polled("shop", "failed", 100.0)
    metrics.polled("shop", "complete", 110.0)
    metrics.delivery({"queued": 4}, {"parked": 1}, {"outbox": 2}, {"shop": 1.5}, 130.0)
    values = metrics.values()
    assert values["millpond_delivery_looks_total"] == 3
    assert values['millpond_delivery_nudges_total{source="poll"}'] == 2
    assert values['millpond_delivery_webhooks_total{sender="plane",status="401"}'] == 1
    assert values['millpond_delivery_tracker_calls_total{call="get",outcome="failed"}'] == 1
    assert values['millpond_delivery_polls_total{outcome="complete",project="shop"}'] == 1
    assert values['millpond_delivery_poll_age_seconds{project="shop"}'] == 20
    assert values['millpond_delivery_last_complete_poll_timestamp_seconds{project="shop"}'] == 110
    assert values['millpond_delivery_jobs{state="queued"}'] == 4
    assert values['millpond_delivery_tasks{phase="parked"}'] == 1
    assert values['millpond_delivery_backlog{what="outbox"}'] == 2
    assert values['millpond_delivery_spent_today_usd{project="shop"}'] == 1.5
