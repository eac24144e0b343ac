"""Gates: named checks that decide whether a stage is done. PURE: evidence in, a verdict and its reason out.

What counts is what the stage's present visit brought and what was observed just now, each about the very commit that
the task is at: a new push voids it. Where there is no evidence a gate waits; nothing is green for want of it. Of two
facts of a kind the later one holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from millpond.delivery.deciding.spending import LEAST_USD
from millpond.delivery.model import Budget, Evidence, Json, Spend, Task
from millpond.delivery.pipeline import GateRule, Stage


class Word(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a gate says, and why."""

    word: Word
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """What a gate judges: the task, its evidence that counts, the gate's settings, and the money."""

    task: Task
    evidence: tuple[Evidence, ...]
    settings: Mapping[str, Json]
    budget: Budget
    spend: Spend

    def latest(self, kind: str, **facts: Json) -> Evidence | None:
        """Find the last fact of a kind about the task's commit that says these things."""
        found = [
            one
            for one in self.evidence
            if one.kind == kind
            and one.sha == self.task.sha
            and all(one.facts.get(name) == value for name, value in facts.items())
        ]
        return max(found, key=lambda one: one.at, default=None)

    def text(self, name: str) -> str:
        """Read a setting with the task's key in it."""
        return str(self.settings.get(name, "")).replace("{key}", self.task.key)

    @property
    def about(self) -> str:
        """The commit in words."""
        return self.task.sha[:12] if self.task.sha else "no commit yet"


Gate: TypeAlias = Callable[[Case], Ruling]


def _passed(reason: str) -> Ruling:
    return Ruling(Word.PASSED, reason)


def _failed(reason: str) -> Ruling:
    return Ruling(Word.FAILED, reason)


def _waiting(reason: str) -> Ruling:
    return Ruling(Word.WAITING, reason)


def _told(case: Case, kind: str, what: str, **facts: Json) -> Ruling | Evidence:
    """Give the fact that a gate needs, about the task's commit; a ruling where there is none."""
    if not case.task.sha:
        return _waiting("there is no commit yet")
    return case.latest(kind, **facts) or _waiting(f"nothing is known yet about {what} at {case.about}")


def _yes(found: Ruling | Evidence, fact: str, good: str, bad: str) -> Ruling:
    """Rule by one fact that is true or false; anything else is no evidence."""
    if isinstance(found, Ruling):
        return found
    match found.facts.get(fact):
        case True:
            return _passed(good)
        case False:
            detail = str(found.facts.get("detail") or "")
            return _failed(f"{bad}: {detail}" if detail else bad)
    return _waiting(f"what is told of it is not clear ({fact} is missing)")


def human_verdict(case: Case) -> Ruling:
    """Ask whether a person approved or rejected, by column, comment or command, what the task is at now."""
    found = case.latest("human-verdict")
    who = str(found.facts.get("name") or found.facts.get("by") or "a person") if found else ""
    if found is None:
        return _waiting(f"waits for a person's verdict on {case.about}")
    return _yes(found, "approved", f"approved by {who}", f"rejected by {who}")


def file_present(case: Case) -> Ruling:
    """Ask whether a file is in the branch (setting `path`)."""
    path = case.text("path")
    found = _told(case, "file", f"the file {path}", path=path)
    return _yes(found, "present", f"{path} is there", f"{path} is not in the branch")


def branch_pushed(case: Case) -> Ruling:
    """Ask whether the forge has the branch at the task's commit."""
    if not case.task.sha:
        return _waiting(f"nothing was pushed to {case.task.branch}")
    found = case.latest("head")
    return _passed(f"{case.task.branch} is at {case.about}") if found else _waiting(f"{case.about} was not seen there")


def commit_status(case: Case) -> Ruling:
    """Ask whether the commit's statuses are green: all of them, with those that `contexts` names among them.

    None at all is not green; error and failure are red; whatever else there is, is waited for.
    """
    found = _told(case, "statuses", "commit statuses")
    if isinstance(found, Ruling):
        return found
    told = found.facts.get("statuses")
    statuses = told if isinstance(told, dict) else {}
    needed = case.settings.get("contexts")
    contexts = [str(name) for name in needed] if isinstance(needed, list) else []
    red = sorted(name for name, state in statuses.items() if state in {"failure", "error"})
    missing = [name for name in contexts if name not in statuses]
    open_ = sorted(name for name, state in statuses.items() if state not in {"success", "warning", "skipped"})
    if red:
        return _failed(f"{', '.join(red)} failed at {case.about}")
    if not statuses:
        return _waiting(f"no status was reported for {case.about}, which is not green")
    if missing or open_:
        return _waiting(f"{', '.join(missing + open_)} not done at {case.about}")
    return _passed(f"all {len(statuses)} statuses are green at {case.about}")


def review_verdict(case: Case) -> Ruling:
    """Ask whether the front matter of the review's file says ``verdict: approved`` or ``rejected`` (setting `path`)."""
    path = case.text("path")
    found = _told(case, "front-matter", f"the review in {path}", path=path)
    if isinstance(found, Ruling):
        return found
    fields = found.facts.get("fields")
    verdict = str(fields.get("verdict", "") if isinstance(fields, dict) else "").strip().casefold()
    match verdict:
        case "approved":
            return _passed(f"the review in {path} approves {case.about}")
        case "rejected":
            return _failed(f"the review in {path} rejects {case.about}")
    return _waiting(f"the review in {path} has no verdict: write approved or rejected")


def tests_passed(case: Case) -> Ruling:
    """Ask whether tests ran, one at least, and none failed."""
    found = _told(case, "tests", "the tests")
    if isinstance(found, Ruling):
        return found
    failed, passed = found.facts.get("failed"), found.facts.get("passed")
    if type(failed) is not int or type(passed) is not int:
        return _waiting("what is told of the tests is not clear (passed and failed are counts)")
    if failed:
        return _failed(f"{failed} of {failed + passed} tests failed at {case.about}")
    return _passed(f"{passed} tests passed at {case.about}") if passed else _failed(f"no test ran at {case.about}")


def no_conflict(case: Case) -> Ruling:
    """Ask whether the branch can be merged into its base."""
    found = _told(case, "mergeable", "conflicts with the base")
    return _yes(found, "mergeable", "no conflict with the base", "it conflicts with the base")


def base_unmoved(case: Case) -> Ruling:
    """Ask whether the branch has all of its base: nothing was merged since that it was not tried with."""
    found = _told(case, "base", "the base")
    return _yes(found, "contained", "the base has not moved", "the base has moved on: bring the branch up to it")


def images_pullable(case: Case) -> Ruling:
    """Ask whether a dry run of the pre-pull found every image."""
    found = _told(case, "images", "the images")
    return _yes(found, "pullable", "every image can be pulled", "an image can't be pulled")


def artifacts_present(case: Case) -> Ruling:
    """Ask whether the pond has what the build used, so that it can be built again with the world gone."""
    found = _told(case, "artifacts", "the artifacts")
    return _yes(found, "present", "the pond has every artifact", "the pond lacks an artifact")


def budget_left(case: Case) -> Ruling:
    """Ask whether something is left of the task's and the day's budget."""
    over = overspent(case.task, case.budget, case.spend)
    return _failed(over) if over else _passed(f"{case.spend.task_usd:.2f} USD spent so far")


def deploy_converged(case: Case) -> Ruling:
    """Ask whether the deployment runs as it was meant to, on every host."""
    found = _told(case, "deploy", "the deployment")
    return _yes(found, "converged", "the deployment converged", "the deployment did not converge")


def health(case: Case) -> Ruling:
    """Ask whether the monitor found the app healthy."""
    found = _told(case, "health", "the app's health")
    if isinstance(found, Ruling):
        return found
    match found.facts.get("state"):
        case "HEALTHY":
            return _passed("HEALTHY")
        case "DEGRADED":
            return _failed(f"DEGRADED: {found.facts.get('detail') or 'no detail was given'}")
    return _waiting("the monitor has not come to a result")


GATES: Mapping[str, Gate] = {
    "human-verdict": human_verdict,
    "file-present": file_present,
    "branch-pushed": branch_pushed,
    "commit-status": commit_status,
    "review-verdict": review_verdict,
    "tests-passed": tests_passed,
    "no-conflict": no_conflict,
    "base-unmoved": base_unmoved,
    "images-pullable": images_pullable,
    "artifacts-present": artifacts_present,
    "budget-left": budget_left,
    "deploy-converged": deploy_converged,
    "health": health,
}
"""The registry."""
SETTINGS: Mapping[str, frozenset[str]] = {
    "file-present": frozenset({"path"}),
    "commit-status": frozenset({"contexts"}),
    "review-verdict": frozenset({"path"}),
}
"""What may be set for a gate; for the others nothing."""
REQUIRED: Mapping[str, frozenset[str]] = {
    "file-present": frozenset({"path"}),
    "review-verdict": frozenset({"path"}),
}
HUMAN = "human-verdict"


def counts(task: Task, evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Leave out what belongs to an earlier visit."""
    return tuple(one for one in evidence if one.visit in {0, task.visit})


def judge(
    task: Task, stage: Stage, evidence: Iterable[Evidence], budget: Budget, spend: Spend
) -> tuple[tuple[GateRule, Ruling], ...]:
    """Let each gate of a stage speak. One that nobody knows never passes."""
    counted = counts(task, evidence)
    return tuple((rule, _rule(Case(task, counted, rule.settings, budget, spend), rule.name)) for rule in stage.gates)


def _rule(case: Case, name: str) -> Ruling:
    gate = GATES.get(name)
    return gate(case) if gate is not None else _waiting(f'there is no gate "{name}"')


def awaits_person(said: Iterable[tuple[str, str]], *, unseen: bool) -> bool:
    """Whether a person's verdict is awaited, by what gates said: name and word. `unseen`: the answer without any."""
    told = list(said)
    return any(name == HUMAN and word == Word.WAITING for name, word in told) if told else unseen


def overspent(task: Task, budget: Budget, spend: Spend) -> str:
    """Say which budget is spent; empty: none is."""
    limit = task.options.task_usd if task.options.task_usd is not None else budget.task_usd
    if limit is not None and spend.task_usd >= limit - LEAST_USD:
        return f"the task's budget is spent ({spend.task_usd:.2f} of {limit:.2f} USD)"
    if budget.day_usd is not None and spend.day_usd >= budget.day_usd - LEAST_USD:
        return f"the project's budget for today is spent ({spend.day_usd:.2f} of {budget.day_usd:.2f} USD)"
    return ""
