"""What an issue's labels set for its task, in words: it is read once, so it is written down which ones did. PURE."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from millpond.delivery.model import Options
from millpond.delivery.pipeline import AFTER, Pipeline

NEAR = 0.8
"""How alike two labels are for one to be taken for the other, misspelt (`difflib.SequenceMatcher.ratio`)."""
MAX_LABEL = 100
MOST = 20
"""Labels that are named."""


def told(labels: Iterable[str], pipeline: Pipeline, options: Options) -> str:
    """Say which labels set what, and which look like one that would; empty: no label matters."""
    known, wanted = pipeline.labels, sorted(labels)
    mine = [one for one in wanted if one.casefold() in known or one.casefold().startswith(AFTER)][:MOST]
    texts = [f"{', '.join(mine)}: {sets(options) or 'nothing'}"] if mine else []
    others = [(one, _near(one, known)) for one in wanted if one not in mine]
    texts += [f'{one} is not known to the pipeline: did you mean "{near}"?' for one, near in others if near][:MOST]
    return "; ".join(texts)


def sets(options: Options) -> str:
    """Say what is set for a task; empty: nothing."""
    told_ = [f"skips {', '.join(sorted(options.skip))}"] if options.skip else []
    told_ += [f"priority {options.priority}"] if options.priority else []
    told_ += [f"{options.task_usd:.2f} USD"] if options.task_usd is not None else []
    told_ += [f"after {', '.join(options.after)}"] if options.after else []
    told_ += [f"{name} = {value}" for name, value in options.settings.items()]
    return ", ".join(told_)


def _near(label: str, known: Iterable[str]) -> str:
    """Give the known label that was probably meant; empty: none was."""
    return next(iter(difflib.get_close_matches(label.casefold()[:MAX_LABEL], list(known), n=1, cutoff=NEAR)), "")
