from __future__ import annotations

import pytest
from tests.bench.figures import row, table

from bench import chart

ROWS = table(
    row("nginx", 100, 100),
    row("millpond-1", 90, 80),
    row("varnish", 120, 120),
    row("nginx-cache", 10, group="herd"),
    row("millpond-1", 20, group="herd"),
    row("millpond-1", 7, group="memory", metric="memory"),
)


def test_each_load_with_ratios_has_a_panel_with_nginx_at_one():
    assert chart.panels(ROWS) == [
        chart.Panel("hits: a: 2 KiB", (("varnish", 1.2), ("nginx", 1.0), ("millpond-1", pytest.approx(0.85)))),
        chart.Panel("herd: a: 2 KiB", (("millpond-1", 2.0), ("nginx-cache", 1.0))),
    ]


def test_without_ratios_nothing_is_drawn(tmp_path):
    assert chart.draw(table(row("nginx", 1)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_chart_is_drawn_twice_and_the_same_each_time(tmp_path):
    svg, png = chart.draw(ROWS, tmp_path)
    first = svg.read_bytes()
    assert b"millpond-1" in first or b"<path" in first
    assert png.read_bytes().startswith(b"\x89PNG")
    chart.draw(ROWS, tmp_path)
    assert svg.read_bytes() == first
