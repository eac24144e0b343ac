from __future__ import annotations

import pytest
from tests.bench.figures import row, table

from bench import compare, model


def hits(nginx: tuple[float, ...], ours: tuple[float, ...]):
    return table(row("nginx", *nginx), row("millpond-1", *ours))


def only(before, after) -> compare.Change:
    (found,) = compare.compare(before, after)
    return found


def test_a_slower_machine_costs_nothing_since_ratios_are_compared():
    change = only(hits((100, 100), (90, 90)), hits((50, 50), (45, 45)))
    assert change.gain == 0
    assert change.word == ""


def test_more_than_a_tenth_costs():
    change = only(hits((100, 100), (90, 91)), hits((100, 100), (80, 79)))
    assert change.word == "costs"
    assert change.gain == pytest.approx(79.5 / 90.5 - 1)


def test_a_tenth_is_let_pass():
    assert only(hits((100,), (100,)), hits((100,), (91,))).word == ""


def test_rounds_that_overlap_may_be_noise():
    change = only(hits((100, 100, 100), (90, 90, 60)), hits((100, 100, 100), (70, 72, 92)))
    assert change.word == "may cost: the rounds overlap"


def test_more_of_what_should_be_little_costs():
    before = table(row("millpond-1", 20, group="beside", metric="hit p99", unit="ms", more_is_better=False))
    after = table(row("millpond-1", 30, group="beside", metric="hit p99", unit="ms", more_is_better=False))
    assert only(before, after).word == "costs"
    assert only(after, before).word == "gains"


def test_little_of_little_means_nothing():
    before = table(row("millpond-1", 2, group="memory", metric="m", unit="MiB", more_is_better=False))
    after = table(row("millpond-1", 6, group="memory", metric="m", unit="MiB", more_is_better=False))
    assert only(before, after).gain == 0


def test_peers_and_what_only_one_run_has_are_left_out():
    before = table(row("nginx", 100), row("squid", 50))
    after = table(row("nginx", 100), row("squid", 10), row("millpond-1", 90))
    assert list(compare.compare(before, after)) == []


def written(folder, name, rows):
    path = folder / name
    path.write_text(model.as_json(rows, {}))
    return str(path)


def test_the_exit_code_tells_of_a_cost(tmp_path, capsys):
    before = written(tmp_path, "before", hits((100,), (90,)))
    after = written(tmp_path, "after", hits((100,), (70,)))
    assert compare.main([before, after]) == 1
    assert "costs" in capsys.readouterr().out
    assert compare.main([before, before]) == 0


def test_without_figures_to_compare_with_it_says_what_to_do(tmp_path, capsys):
    after = written(tmp_path, "after", hits((100,), (70,)))
    assert compare.main([str(tmp_path / "none"), after]) == 2
    assert "--out docs/benchmarks" in capsys.readouterr().err


def test_figures_with_nothing_in_common_are_no_success(tmp_path):
    before = written(tmp_path, "before", table(row("squid", 1)))
    after = written(tmp_path, "after", hits((100,), (70,)))
    assert compare.main([before, after]) == 2
