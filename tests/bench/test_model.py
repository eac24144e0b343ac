from __future__ import annotations

import pytest
from tests.bench.figures import row, table

from bench import model
from bench.model import Sample


def sample(value: float, server: str = "nginx") -> Sample:
    return Sample("hits", "a", server, "rate", "requests/s", value)


def test_the_rounds_of_a_figure_make_one_row_in_the_order_of_their_coming():
    rows = model.rows_of([sample(3), sample(9, "squid"), sample(1)])
    assert [one.values for one in rows.values()] == [(3, 1), (9,)]


@pytest.mark.parametrize(
    ("server", "base"),
    [("millpond-1", "nginx"), ("millpond-2", "nginx-2"), ("nginx-cache", "nginx"), ("squid", "nginx")],
)
def test_hits_are_set_against_nginx_with_as_many_workers(server, base):
    rows = table(row("nginx", 100), row("nginx-2", 200), row("nginx-cache", 50), row("millpond-1", 1))
    found = model.base_of(row(server, 1), rows)
    assert found is not None
    assert found.server == base


def test_nginx_is_set_against_nothing():
    rows = table(row("nginx", 100), row("nginx-2", 200))
    assert model.ratio_of(rows["hits", "a: 2 KiB", "nginx", "rate"], rows) == ()
    assert model.ratio_of(rows["hits", "a: 2 KiB", "nginx-2", "rate"], rows) == ()


def test_misses_are_set_against_nginx_caching():
    rows = table(row("nginx-cache", 50, group="misses"), row("nginx", 100, group="misses"))
    assert model.ratio_of(row("millpond-1", 25, group="misses"), rows) == (0.5,)


def test_waiting_times_have_no_ratio():
    rows = table(row("nginx-cache", 50, group="beside", metric="hit p99"))
    assert model.ratio_of(row("millpond-1", 5, group="beside", metric="hit p99"), rows) == ()


def test_figures_come_back_from_json_as_they_were():
    rows = table(row("nginx", 100.5, 99.25), row("millpond-1", 3, more_is_better=False))
    again, machine = model.read(model.as_json(rows, {"cores": 2}))
    assert again == rows
    assert machine == {"cores": 2}


@pytest.mark.parametrize("text", ["{}", "[]", '{"machine": {}, "figures": [{"a": 1}]}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="no figures"):
        model.read(text)


MACHINE = {"cpu": "one", "cores": 2}


def test_groups_that_are_measured_again_replace_the_earlier_ones_and_no_others():
    before = table(row("nginx", 1), row("nginx", 2, group="misses"), row("nginx", 3, group="lag", case="hits: a"))
    after = table(row("squid", 9))
    then = MACHINE | {"at": "monday", "commit": "a", "failed": ["misses: no start", "hits: no start"]}
    rows, told = model.joined(before, then, after, MACHINE | {"at": "tuesday", "commit": "b", "failed": []})
    assert [(one.group, one.server) for one in rows.values()] == [("misses", "nginx"), ("hits", "squid")]
    assert {group: (one["at"], one["commit"]) for group, one in told["runs"].items()} == {
        "hits": ("tuesday", "b"),
        "misses": ("monday", "a"),
    }
    assert told["failed"] == ["misses: no start"]


def test_what_was_measured_earlier_keeps_its_time_however_often_others_are_measured():
    rows, told = table(row("nginx", 1), row("nginx", 2, group="misses")), MACHINE | {"at": "1", "commit": "a"}
    for number in "23":
        rows, told = model.joined(rows, told, table(row("nginx", 3)), MACHINE | {"at": number, "commit": "b"})
    assert {group: one["at"] for group, one in told["runs"].items()} == {"hits": "3", "misses": "1"}


def test_figures_of_two_machines_are_not_joined():
    with pytest.raises(ValueError, match="another machine"):
        model.joined({}, MACHINE, {}, MACHINE | {"cpu": "two"})
