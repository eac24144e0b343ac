from __future__ import annotations

from bench.loads.lag import late_looks
from bench.servers.millpond import LAG

METRICS = """# TYPE millpond_event_loop_lag_seconds histogram
millpond_event_loop_lag_seconds_bucket{le="0.01"} 4.0
millpond_event_loop_lag_seconds_bucket{le="0.02"} 5.0
millpond_event_loop_lag_seconds_bucket{le="+Inf"} 7.0
millpond_event_loop_lag_seconds_count 7.0
"""


def test_the_histogram_is_read_from_the_metrics():
    found = {float(bound): float(count) for bound, count in LAG.findall(METRICS)}
    assert found == {0.01: 4, 0.02: 5, float("inf"): 7}


def test_looks_over_the_limit_are_counted_since_the_first_reading():
    before = {0.02: 5.0, float("inf"): 6.0}
    after = {0.02: 15.0, float("inf"): 19.0}
    assert late_looks(before, after) == 3
    assert late_looks({}, before) == 1
