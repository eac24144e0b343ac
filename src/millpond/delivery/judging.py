"""Whether some gate judges every commit that a merge brings in, whatever labels make of the pipeline. PURE.

Where gates stand before a merge at all, each task has to come through one of them on its way there, and nothing may
commit behind the last one. Labels take stages away (`skip`) and have others commit (`settings`), several at once. So a
definition is judged for every set of labels that an issue can have (`by_labels`), and each task once more before its
merge (`unjudged`): the pipeline may be another one by then than that by which its labels were read. Which commit gates
really passed is in the task (`Task.judged`), and no other one is merged where there are gates (`gated`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millpond.delivery.model import Json
from millpond.delivery.pipeline import Label, Stage

COMMITTING = frozenset({"agent", "command"})
_COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A commit that a merge would bring in unseen. `stage` makes it; empty: whoever pushes to the branch."""

    stage: str

    @property
    def reason(self) -> str:
        """Say it in words."""
        if self.stage:
            return f'"{self.stage}" commits, and no gate judges that before the merge'
        return "no gate is left before the merge"


def commits(stage: Stage, settings: Mapping[str, Json]) -> bool:
    """Whether a stage commits, with the settings that a task's labels have over its own."""
    if stage.step not in COMMITTING:
        return False
    return {_COMMIT: stage.step == "agent", **stage.settings, **settings}[_COMMIT] is not False


def gated(stages: Sequence[Stage], merge: str) -> bool:
    """Whether gates stand before a merge at all."""
    names = [stage.name for stage in stages]
    return any(stage.gates for stage in stages[: names.index(merge)]) if merge in names else False


def unjudged(stages: Sequence[Stage], skip: Collection[str], settings: Mapping[str, Json]) -> Unjudged | None:
    """Find what one task would merge that no gate saw; None: nothing. `stages`: those that its project has."""
    for index, merge in enumerate(stages):
        before = stages[:index]
        if merge.step != "merge" or merge.name in skip or not any(stage.gates for stage in before):
            continue
        left = [stage for stage in before if stage.name not in skip]
        last = max((place for place, stage in enumerate(left) if stage.gates), default=None)
        if last is None:
            return Unjudged("")
        for stage in left[last + 1 :]:
            if commits(stage, settings):
                return Unjudged(stage.name)
    return None


def by_labels(stages: Sequence[Stage], labels: Mapping[str, Label]) -> tuple[tuple[str, ...], Unjudged] | None:
    """Find labels with which one issue would have something merged that no gate saw: as few as it takes; None: none."""
    for names in _sets(stages, labels):
        if _of(stages, labels, names) is None:
            continue
        needed = names
        for name in names:
            fewer = tuple(one for one in needed if one != name)
            needed = fewer if _of(stages, labels, fewer) else needed
        found = _of(stages, labels, needed)
        return (needed, found) if found else None
    return None


def _sets(stages: Sequence[Stage], labels: Mapping[str, Label]) -> Iterator[tuple[str, ...]]:
    """Give the sets of labels that have to be looked at, so that none of all the others is worse.

    More labels only take more gates away. They spare nothing, but for three: one that takes the committing stage away,
    or the merge itself, or has nothing commit. So of each pair of these stages the largest set without such labels will
    do, once with, once without those that say what commits: where labels contradict, either may hold.
    """
    yield from ((name,) for name in labels)
    merges = [stage.name for stage in stages if stage.step == "merge"]
    made = {"", *(stage.name for stage in stages if stage.step in COMMITTING)}
    seen = set[tuple[str, ...]]()
    for merge in merges:
        for stage in sorted(made):
            spares = {merge, stage}
            most = tuple(name for name, label in labels.items() if not spares & label.skip)
            silent = tuple(name for name in most if labels[name].settings.get(_COMMIT) is not False)
            for names in (most, silent):
                if names not in seen:
                    seen.add(names)
                    yield names


def _of(stages: Sequence[Stage], labels: Mapping[str, Label], names: Collection[str]) -> Unjudged | None:
    """Judge a set of labels; one that has something commit holds over one that does not."""
    chosen = [labels[name] for name in names]
    said = [label.settings[_COMMIT] for label in chosen if _COMMIT in label.settings]
    settings: dict[str, Json] = {_COMMIT: any(one is not False for one in said)} if said else {}
    return unjudged(stages, frozenset[str]().union(*(label.skip for label in chosen)), settings)
