"""How an issue ended, in words: the last comment on it. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from millpond.delivery.model import Evidence, Project, Task

SHORT = 12
"""Characters of a commit that people are shown."""


def ending(task: Task, project: Project, past: Sequence[Evidence]) -> str:
    """Tell what became of a task: the merge, who approved, the deploy, its health. `past`: all that it showed."""
    told = [f"{task.key} is done."]
    if merged := _last(past, "merged"):
        told.append(f"Commit {merged.sha[:SHORT]} of {task.branch} is merged into {project.branch}.")
    if names := _approvers(past):
        told.append(f"Approved by {_listed(names)}.")
    deploy, health = _last(past, "deploy"), _last(past, "health")
    if deploy is not None and deploy.facts.get("converged") is True:
        release = deploy.facts.get("release")
        told.append(f"Deployed: {project.app}{f', release {release}' if release is not None else ''}.")
    if health is not None and health.facts.get("state") == "HEALTHY":
        told.append("It is healthy.")
    return " ".join(told)


def _last(past: Iterable[Evidence], kind: str) -> Evidence | None:
    return max((one for one in past if one.kind == kind), key=lambda one: one.at, default=None)


def _approvers(past: Iterable[Evidence]) -> list[str]:
    """Name who approved, in their order: of each visit of a stage the last verdict holds."""
    last: dict[int, Evidence] = {}
    for one in sorted((one for one in past if one.kind == "human-verdict"), key=lambda one: one.at):
        last[one.visit] = one
    given = [one for _, one in sorted(last.items()) if one.facts.get("approved") is True]
    return list(dict.fromkeys(str(one.facts.get("name") or one.facts.get("by") or "a person") for one in given))


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
