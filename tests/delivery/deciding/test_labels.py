from __future__ import annotations

from dataclasses import replace

import pytest

from millpond.delivery.deciding.labels import sets, told
from millpond.delivery.model import Options
from millpond.delivery.pipeline import DEFAULT, Label

PIPELINE = replace(DEFAULT, labels={"hotfix": Label(frozenset({"review"}), 10), "dear": Label(task_usd=50.0)})


@pytest.mark.parametrize(("labels", "text"), [
    ((), ""),
    (("bug", "shop"), ""),
    (("hotfix",), "hotfix: skips review, priority 10"),
    (("HotFix", "bug", "dear"), "HotFix, dear: skips review, priority 10, 50.00 USD"),
    (("after:sh-3",), "after:sh-3: after SH-3"),
    (("hotfx",), 'hotfx is not known to the pipeline: did you mean "hotfix"?'),
    (("fix", "hot"), ""),
    (("dear", "hotfxi"), 'dear: 50.00 USD; hotfxi is not known to the pipeline: did you mean "hotfix"?'),
])  # fmt: skip
def test_which_labels_set_what_and_which_look_misspelt(labels: tuple[str, ...], text: str):
    assert told(labels, PIPELINE, PIPELINE.options(labels)) == text


def test_what_is_set_is_told_in_a_line():
    options = Options(frozenset({"b", "a"}), 3, 7.5, ("SH-3", "SH-4"), {"model": "large"})
    assert sets(options) == "skips a, b, priority 3, 7.50 USD, after SH-3, SH-4, model = large"
    assert sets(Options()) == ""
