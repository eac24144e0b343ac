"""A pipeline as data: stages, what each is judged by, and the table of what may follow what. PURE.

`definition` reads one from TOML. Stages come one after the other, since one job of a repo runs at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from millpond.delivery.model import Budget, Json, Key, Options, Phase, Project

AFTER = "after:"
"""A label that begins so names a task to wait for: ``after:SH-3``."""
MAX_AFTER = 50


class Event(StrEnum):
    """What happens to a task."""

    STARTED = "started"
    """A job of its stage was queued."""
    SUCCEEDED = "succeeded"
    TRIED_AGAIN = "tried-again"
    PASSED = "passed"
    """All gates passed, and a stage follows."""
    FINISHED = "finished"
    """All gates of the last stage passed."""
    SENT_BACK = "sent-back"
    PUSHED = "pushed"
    """Somebody else's commit came: what was judged is void."""
    NOTED = "noted"
    """The task's commit is another one now; where it stands is as it was."""
    PARKED = "parked"
    RELEASED = "released"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.READY, Event.STARTED): Phase.WORKING,
    (Phase.READY, Event.SENT_BACK): Phase.READY,
    (Phase.READY, Event.PUSHED): Phase.READY,
    (Phase.READY, Event.NOTED): Phase.READY,
    (Phase.READY, Event.PARKED): Phase.PARKED,
    (Phase.READY, Event.CANCELLED): Phase.CANCELLED,
    (Phase.WORKING, Event.SUCCEEDED): Phase.GATED,
    (Phase.WORKING, Event.TRIED_AGAIN): Phase.READY,
    (Phase.WORKING, Event.SENT_BACK): Phase.READY,
    (Phase.WORKING, Event.PARKED): Phase.PARKED,
    (Phase.WORKING, Event.CANCELLED): Phase.CANCELLED,
    (Phase.GATED, Event.PASSED): Phase.READY,
    (Phase.GATED, Event.FINISHED): Phase.DONE,
    (Phase.GATED, Event.SENT_BACK): Phase.READY,
    (Phase.GATED, Event.PUSHED): Phase.READY,
    (Phase.GATED, Event.NOTED): Phase.GATED,
    (Phase.GATED, Event.PARKED): Phase.PARKED,
    (Phase.GATED, Event.CANCELLED): Phase.CANCELLED,
    (Phase.PARKED, Event.RELEASED): Phase.READY,
    (Phase.PARKED, Event.CANCELLED): Phase.CANCELLED,
}
"""All that may happen. What is not here is refused: a task that has ended stays so, a parked one is only released."""


def follow(phase: Phase, event: Event) -> Phase:
    """Give the phase that follows. Raises `ValueError` where nothing of the kind may happen."""
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise ValueError(f"a task that is {phase} cannot be {event}") from None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts: the first, by how much each next one is longer, and the longest."""

    first_s: float = 10.0
    factor: float = 2.0
    most_s: float = 600.0

    def after(self, attempts: int) -> float:
        """Give the wait after so many attempts (at least one)."""
        wait_s = self.first_s
        for _ in range(attempts - 1):
            if wait_s >= self.most_s:
                break
            wait_s *= self.factor
        return min(wait_s, self.most_s)


class Then(StrEnum):
    """What is done with a task whose stage failed."""

    PARK = "park"
    """A person is asked: the board shows Needs Input."""
    BLOCK = "block"
    """Likewise, but the board shows Blocked."""
    BACK = "back"
    """An earlier stage does it again, a limited number of times; then it is parked."""


@dataclass(frozen=True, slots=True)
class OnFail:
    """What is done when a stage fails."""

    then: Then = Then.PARK
    back_to: str = ""
    times: int = 3


@dataclass(frozen=True, slots=True)
class GateRule:
    """A gate of a stage, and its settings."""

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage."""

    name: str
    step: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    """The step's own."""
    gates: tuple[GateRule, ...] = ()
    attempts: int = 3
    backoff: Backoff = Backoff()
    timeout_s: float = 3600.0
    """For each attempt."""
    gate_timeout_s: float = 86400.0
    """How long gates may be waited for, when none of them waits for a person; 0: for ever."""
    on_fail: OnFail = OnFail()
    needs: tuple[str, ...] = ()
    """Earlier stages that no label may skip."""
    shows: Key | None = Key.IN_PROGRESS
    """What the board shows while its job runs; None: what it showed before."""
    queued: Key | None = None
    """What it shows while that job waits in the queue; None: the same."""
    waits: Key | None = Key.NEEDS_INPUT
    """What it shows while a person's verdict is awaited."""
    only_with_app: bool = False
    """Skipped in projects that deploy nothing."""
    run_usd: float | None = None
    run_turns: int | None = None
    """Instead of the pipeline's own budget for a run."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a label sets for a task."""

    skip: frozenset[str] = frozenset()
    priority: int = 0
    task_usd: float | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages in order, and what holds for all of them."""

    stages: tuple[Stage, ...]
    budget: Budget = field(default_factory=Budget)
    on_push: str = ""
    """The stage that looks again when somebody else's commit came after it began; empty: the first with gates."""
    labels: Mapping[str, Label] = field(default_factory=dict)

    def stage(self, name: str) -> Stage | None:
        """Find a stage."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def index(self, name: str) -> int:
        """Give a stage's place; -1: there is no such stage."""
        return next((index for index, stage in enumerate(self.stages) if stage.name == name), -1)

    def of(self, project: Project) -> tuple[Stage, ...]:
        """Give the stages that a project has."""
        return tuple(stage for stage in self.stages if project.app or not stage.only_with_app)

    def first(self, project: Project, options: Options) -> str:
        """Name the stage that a task begins with; empty: all of them are skipped."""
        return self._from(0, project, options)

    def next(self, after: str, project: Project, options: Options) -> str:
        """Name the stage that follows one; empty: it was the last."""
        return self._from(self.index(after) + 1, project, options)

    def back_to(self, stage: str, project: Project, options: Options) -> str:
        """Name the stage that a task does again when it is sent back to `stage`: that, or the next one that it has."""
        return self._from(max(self.index(stage), 0), project, options)

    def looks_again(self, stage: str, project: Project, options: Options) -> str:
        """Name the stage that a commit of somebody else leads back to from `stage`; empty: nothing judged it yet.

        Without `on_push` that is the first stage with gates, or the first of all. What the task skips is no way back:
        the next stage that it has is, or where no gate would follow, the last one with gates before. After the merge a
        branch may do what it likes.
        """
        own = [one for one in self.stages if self.judges(one.name) and one.step != "merge"]
        own = [one for one in own if self._has(one, project, options)]
        gated = [one for one in own if one.gates]
        begun = self.index(self.on_push) if self.on_push else self.index(gated[0].name) if gated else 0
        later = [one for one in own if self.index(one.name) >= begun]
        back = later if not gated or any(one.gates for one in later) else gated[-1:]
        here = self.index(stage)
        reached = bool(back) and self.index(back[0].name) <= here and self.judges(stage)
        return back[0].name if reached else ""

    def judges(self, stage: str) -> bool:
        """Whether the task's branch still matters at a stage: no merge lies before it."""
        return not any(one.step == "merge" for one in self.stages[: max(self.index(stage), 0)])

    def options(self, labels: Iterable[str]) -> Options:
        """Read what an issue's labels set. The highest priority and the largest budget hold, whatever their order."""
        wanted = sorted(labels)
        found = [label for name in wanted if (label := self.labels.get(name.casefold())) is not None]
        budgets = [label.task_usd for label in found if label.task_usd is not None]
        after = [name[len(AFTER) :].strip().upper() for name in wanted if name.casefold().startswith(AFTER)]
        settings: dict[str, Json] = {}
        for label in found:
            settings.update(label.settings)
        return Options(
            frozenset().union(*(label.skip for label in found)),
            max((label.priority for label in found), default=0),
            max(budgets, default=None),
            tuple(dict.fromkeys(key for key in after if key))[:MAX_AFTER],
            settings,
        )

    def _from(self, index: int, project: Project, options: Options) -> str:
        for stage in self.stages[index:]:
            if self._has(stage, project, options):
                return stage.name
        return ""

    @staticmethod
    def _has(stage: Stage, project: Project, options: Options) -> bool:
        """Whether a task goes through a stage."""
        return stage.name not in options.skip and bool(project.app or not stage.only_with_app)


def _gates(*names: str) -> tuple[GateRule, ...]:
    return tuple(GateRule(name) for name in names)


DEFAULT = Pipeline(
    stages=(
        Stage(
            "analysis",
            "agent",
            {"prompt": "analysis"},
            (GateRule("file-present", {"path": "docs/tasks/{key}.md"}), GateRule("human-verdict")),
            shows=Key.ANALYSIS,
            on_fail=OnFail(Then.BACK, "analysis"),
        ),
        Stage("development", "agent", {"prompt": "development"}, _gates("branch-pushed", "budget-left")),
        Stage(
            "review",
            "agent",
            {"prompt": "review"},
            (GateRule("review-verdict", {"path": "docs/reviews/{key}.md"}),),
            shows=Key.CODE_REVIEW,
            on_fail=OnFail(Then.BACK, "development"),
        ),
        Stage(
            "testing",
            "command",
            {"argv": ["make", "test"]},
            _gates("tests-passed", "no-conflict", "human-verdict"),
            shows=Key.CODE_REVIEW,
            waits=Key.CODE_REVIEW,
            on_fail=OnFail(Then.BACK, "development"),
        ),
        Stage("merge", "merge", attempts=20, shows=Key.IN_PROGRESS, needs=("testing",), timeout_s=600),
        Stage(
            "deploy",
            "deploy",
            gates=_gates("deploy-converged"),
            attempts=2,
            needs=("merge",),
            queued=Key.AWAITING_DEPLOY,
            shows=Key.DEPLOYING,
            on_fail=OnFail(Then.BLOCK),
            only_with_app=True,
        ),
        Stage(
            "monitoring",
            "monitor",
            {"for_s": 600},
            _gates("health"),
            attempts=100,
            backoff=Backoff(30, 1, 30),
            shows=Key.MONITORING,
            on_fail=OnFail(Then.BLOCK),
            needs=("deploy",),
            only_with_app=True,
        ),
    ),
    on_push="review",
)
"""What a project has that brings no pipeline of its own."""
