"""Counters add up, in text and as JSON."""

from __future__ import annotations

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
