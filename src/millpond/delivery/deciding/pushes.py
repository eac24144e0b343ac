"""Commits that somebody else pushed to a task's branch: which void what was judged, and what is done again. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from millpond.delivery.deciding.gates import HUMAN
from millpond.delivery.model import Phase, Project, Task
from millpond.delivery.pipeline import Pipeline

SEES_ANEW = frozenset(
    {HUMAN, "file-present", "branch-pushed", "commit-status", "no-conflict", "base-unmoved", "budget-left"}
)
"""Gates that judge a new commit without a new run: none of them takes a job's word, or a review's of an older one."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Such a commit, which nobody has looked at yet. `again`: the stage that is done again for it; empty: none is."""

    sha: str
    again: str = ""


def unseen(task: Task, head: str, pipeline: Pipeline) -> bool:
    """Whether the commit that the forge has on a task's branch is one of somebody else's that voids what was judged.

    Once it is merged none does. `head` empty: not known, or there is no branch.
    """
    stage = pipeline.stage(task.stage)
    merged = task.phase is Phase.GATED and stage is not None and stage.step == "merge"
    return bool(head) and head != task.sha and pipeline.judges(task.stage) and not merged


def leads_back(task: Task, project: Project, pipeline: Pipeline) -> str:
    """Name the stage that is done again for such a commit; empty: it is taken in where the task stands."""
    again = pipeline.looks_again(task.stage, project, task.options)
    return "" if task.stage == again and _unjudged(task, pipeline) else again


def _unjudged(task: Task, pipeline: Pipeline) -> bool:
    """Whether a commit may come to the stage that looks again without that it begins anew.

    Nothing was judged there yet; or the pipeline names no stage to look again (`on_push`), and each of its gates sees
    the new commit for itself.
    """
    if not task.sha or (task.phase is Phase.READY and not task.attempts):
        return True
    stage = pipeline.stage(task.stage)
    if pipeline.on_push or stage is None:
        return False
    return task.phase is Phase.READY or all(rule.name in SEES_ANEW for rule in stage.gates)
