"""What to do about an issue, given everything that is known of it. PURE; level-triggered.

`decide` looks at the present state of things only, never at the event that made us look, so that lost, doubled and
reordered events make no difference. It orders one step; who carries it out looks again until there is but a `Wait`,
whose reason is what ``millpond why`` tells. Invariants (`tests/delivery/deciding/test_decide.py`):

- while a job of the task is queued or runs, nothing is started, judged, passed or parked;
- an input of the board counts once, until the board was seen elsewhere, or our own write of another column confirmed;
- nothing is written to a column that the board does not have, nor where nothing changed;
- there is always a step, or a reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from millpond.delivery.board.verdicts import spoken
from millpond.delivery.deciding import advice, failing, gates, labels, spending
from millpond.delivery.deciding.actions import (
    Action,
    Arm,
    CancelTask,
    CreateTask,
    Finish,
    ParkTask,
    PassOn,
    Push,
    Release,
    StartJob,
    StopJob,
    Succeed,
    Tell,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.ending import SHORT, ending
from millpond.delivery.deciding.gates import HUMAN, Word
from millpond.delivery.deciding.hearing import named, unheard
from millpond.delivery.deciding.looking import Look, World, grace_left, rest, unbegun
from millpond.delivery.deciding.pushes import leads_back, unseen
from millpond.delivery.judging import gated, unjudged
from millpond.delivery.model import Evidence, Input, Issue, Job, JobState, Key, Phase, Task
from millpond.delivery.pipeline import Stage
from millpond.delivery.spans import span

Rule: TypeAlias = Callable[[Look], tuple[Action, ...]]
MAX_RETURNS = 20
"""How often commits of others may lead a task back before a person is asked."""
WORKTREES = frozenset({"command", "agent"})
"""Steps that begin in a worktree of the branch, or of its base."""
BASE_S = 300.0
"""How soon one looks again at an issue that waits for a base branch, if nobody says that it is there (`bases`)."""
QUEUED_S = 600.0
"""How long the next look at a queued job is put off, where the board shows it in a column of its own: its claim brings
that look forward."""


def decide(
    issue: Issue | None,
    task: Task | None,
    jobs: Sequence[Job],
    evidence: Sequence[Evidence],
    now: float,
    world: World,
) -> tuple[Action, ...]:
    """Order the next step of an issue. `issue` None: it is known not to exist. `task`: its last one, open or not."""
    if issue is None:
        return _gone(task, jobs)
    if task is None or not task.open:
        return _idle(issue, task, now, world)
    look = Look(issue, task, tuple(jobs), tuple(evidence), now, world)
    return next(actions for rule in RULES if (actions := rule(look)))


def _gone(task: Task | None, jobs: Sequence[Job]) -> tuple[Action, ...]:
    if task is None or not task.open:
        return (Wait("the tracker has no such issue"),)
    if task.cancelling:
        return taken_back(jobs, f"cancelled by {task.cancelling}", "", task.cancelling)
    if any(job.active for job in jobs):
        return (Wait("the tracker has no such issue any more; its job goes on to its end"),)
    if task.phase is Phase.PARKED:
        return (Wait(f"parked: {task.reason}; the tracker has no such issue any more"),)
    return (ParkTask("the tracker has no such issue any more: restore it, or cancel the task", None),)


def _idle(issue: Issue, task: Task | None, now: float, world: World) -> tuple[Action, ...]:
    """Look at an issue that has no open task, and begin one where its column says so."""
    until: float | None = None
    if task is not None:
        look = Look(issue, task, (), (), now, world)
        if task.used and look.elsewhere:
            return (Arm(),)
        shown = rest(look, f"{task.key} is {task.phase}")
        if not isinstance(shown[0], Wait):
            return shown
        until = shown[0].until
        if answer := unheard(issue, task):
            return answer
    if not world.board.starts(issue.state):
        told = f"{task.key} is {task.phase}" if task else "it does not stand at To Analyse (or its alias)"
        return (Wait(told, until),)
    if task is not None and task.used is Input.START:
        return (Wait(f"{task.key} is {task.phase}; move the issue elsewhere and back to begin anew"),)
    if world.lacks_base:  # told before the grace period: there is something for people to do
        return (Wait(_unpushed(world, "a task begins"), now + BASE_S, for_base=True),)
    if (left_s := grace_left(issue, now, world)) > 0:
        return (Wait(f"grace period, {span(left_s)} left", now + left_s),)
    options = world.pipeline.options(issue.labels)
    stage = world.pipeline.first(world.project, options)
    if not stage:
        return (Wait("its labels skip every stage"),)
    said = labels.told(issue.labels, world.pipeline, options)
    return (CreateTask(stage, options, issue.state, issue.moved_by, said),)


def _arm(look: Look) -> tuple[Action, ...]:
    return (Arm(),) if look.task.used and look.elsewhere else ()


def _cancelled(look: Look) -> tuple[Action, ...]:
    by = look.task.cancelling
    if not by and not look.world.board.cancels(look.issue.state):
        return ()
    if not by and (left_s := grace_left(look.issue, look.now, look.world)) > 0:
        return (Wait(f"it stands at Cancelled; grace period, {span(left_s)} left", look.now + left_s),)
    who = by or look.issue.moved_by
    reason = f"cancelled by {by}" if by else f"the issue was moved to Cancelled{f' by {who}' if who else ''}"
    column = look.issue.state if look.world.board.cancels(look.issue.state) else ""
    actions = taken_back(look.jobs, reason, column, who)
    ends = by and isinstance(actions[0], CancelTask)
    return (*actions, Tell(f"{look.task.key} was {reason}.", f"{look.task.id}:end")) if ends else actions


def taken_back(jobs: Sequence[Job], reason: str, column: str, by: str) -> tuple[Action, ...]:
    """End a task once its job has stopped. `column`: the one that said so; empty: by a command."""
    if running := [job for job in jobs if job.active]:
        stops = tuple(StopJob(job.id, reason) for job in running if not job.stop)
        return stops or (Wait(f"cancelled; job {running[0].id} was asked to stop"),)
    return (CancelTask(reason, column, by),)


def _active(look: Look) -> tuple[Action, ...]:
    job = look.job
    if job is None or not job.active:
        return ()
    name = f"job {job.id} ({job.stage}, attempt {job.attempt})"
    if job.state is JobState.RUNNING:
        return rest(look, f"{name} runs")
    reason = f"{name} is queued" + (f": {look.world.line}" if look.world.line else "")
    stage = look.stage
    shows_more = stage is not None and stage.queued not in {None, stage.shows}
    return rest(look, reason, look.now + QUEUED_S if shows_more else None)


def _unheard(look: Look) -> tuple[Action, ...]:
    """Answer a verdict in a comment that came when none was awaited, or that names another commit."""
    task, head = look.task, look.world.head
    about = (task.sha, head) if unseen(task, head, look.world.pipeline) else (task.sha,)
    awaited = task.phase is Phase.GATED and look.waits_for_person
    said = spoken(look.issue.comments, task.mark, about)
    if awaited and said is not None and said[0].approved is not None:
        return ()
    return unheard(look.issue, task, awaited=awaited)


def _ended(look: Look) -> tuple[Action, ...]:
    if look.task.phase is not Phase.WORKING:
        return ()
    job, stage = look.job, look.stage
    if job is None or job.settled or job.visit != look.task.visit:
        return failing.retry(look, None, "its job is gone", 0.0)
    match job.state:
        case JobState.SUCCEEDED:
            done = Succeed(job.id, job.sha or look.task.sha, look.issue.mark)
            return (done, _asks(look, stage, done.sha)) if stage and _human(stage) else (done,)
        case JobState.FAILED if advice.unstarted(job.reason):
            return failing.park(look, job.reason, Key.NEEDS_INPUT, job.id)
        case JobState.FAILED:
            return failing.failed(look, job.reason or "it failed", job.id)
        case JobState.ASKED:
            asked = job.reason or "it has a question"
            hand = failing.park if advice.spent(asked) else failing.ask
            return hand(look, asked, Key.NEEDS_INPUT, job.id)
        case JobState.CANCELLED:
            return failing.park(look, "its job was stopped", Key.NEEDS_INPUT, job.id)
        case JobState.LATER:
            return failing.not_yet(look, job)
    return failing.retry(look, job.id, job.reason or f"job {job.id} was {job.state}", job.after_s)


def _asks(look: Look, stage: Stage, sha: str) -> Tell:
    columns = "move the issue to Approved or Rejected (if it stands there: away and back), or "
    how = f"{columns if look.world.board.takes_verdicts else ''}comment"
    about = f" on {sha[:12]}" if sha else ""
    text = f"{look.task.key}: {stage.name} waits for a verdict{about}. To give it, {how} /approve, or /reject and why."
    return Tell(text, f"{look.task.id}:{look.task.visit}:{sha}:gate")


def _parked(look: Look) -> tuple[Action, ...]:
    task = look.task
    if task.phase is not Phase.PARKED:
        return ()
    if task.used is not Input.START and look.world.board.resumes(look.issue.state):
        left_s = grace_left(look.issue, look.now, look.world)
        if left_s <= 0:
            return (Release(look.issue.state, look.issue.moved_by),)
        return (Wait(f"parked: {task.reason}; to be resumed, grace period {span(left_s)}", look.now + left_s),)
    return rest(look, f"parked: {task.reason}")


def _unknown_stage(look: Look) -> tuple[Action, ...]:
    if look.stage is not None:
        return ()
    return failing.park(look, f"the pipeline has no stage {look.task.stage} any more", Key.NEEDS_INPUT)


def _pushed(look: Look) -> tuple[Action, ...]:
    """Take a commit of somebody else in: what was judged is void, so that none is merged that passed no gate."""
    task, head = look.task, look.world.head
    if not unseen(task, head, look.world.pipeline):
        return ()
    again = leads_back(task, look.world.project, look.world.pipeline)
    column = look.issue.state if look.world.board.verdict(look.issue.state) is not None else ""
    if task.used is Input.VERDICT:
        column = ""
    if not again:
        noted = Push(head, "", look.issue.mark, column)
        if look.stage is None or task.phase is not Phase.GATED or not _human(look.stage):
            return (noted,)
        return (noted, named(look.issue, task, head) or _asks(look, look.stage, head))
    if task.returns >= MAX_RETURNS:
        return failing.park(look, f"commits of others led back {task.returns} times", Key.NEEDS_INPUT)
    told = Tell(
        f"{task.key}: somebody pushed {head[:SHORT]} to {task.branch}; {again} is done again for it.",
        f"{task.id}:{task.visit}:{head}:push",
    )
    return (Push(head, again, column=column), told)  # what is said in comments is answered by the next step


def _human(stage: Stage) -> bool:
    return any(rule.name == HUMAN for rule in stage.gates)


def _verdict(look: Look) -> tuple[Action, ...]:
    """Count what a person says about the gate that waits for it; where column and comment contradict, it is no."""
    task, issue = look.task, look.issue
    if task.phase is not Phase.GATED or not look.waits_for_person:
        return ()
    said = spoken(issue.comments, task.mark, (task.sha,))
    column = look.world.board.verdict(issue.state) if task.used is not Input.VERDICT else None
    left_s = grace_left(issue, look.now, look.world)
    if said is None and column is not None and left_s > 0:
        return (Wait(f"a verdict by column; grace period, {span(left_s)} left", look.now + left_s),)
    words = [word for word in (said[0].approved if said else None, column) if word is not None]
    if not words:
        return ()
    approved = all(words)
    moved = look.issue.moved_by or "the board" if column is not None else "a comment"
    by = said[1].author if said and said[1].author else moved
    name = said[1].name if said and said[1].author else ""
    reason = said[0].reason if said and said[0].approved is approved else ""
    return (UseVerdict(approved, by, issue.mark, issue.state if column is not None else "", name, reason),)


def _gated(look: Look) -> tuple[Action, ...]:
    task, stage = look.task, look.stage
    if task.phase is not Phase.GATED or stage is None:
        return ()
    if no := next((ruling for _, ruling in look.rulings if ruling.word is Word.FAILED), None):
        return failing.failed(look, no.reason)
    waiting = [(rule, ruling) for rule, ruling in look.rulings if ruling.word is Word.WAITING]
    if waiting:
        return _waits(look, stage, "; ".join(ruling.reason for _, ruling in waiting))
    reason = "; ".join(ruling.reason for _, ruling in look.rulings)
    following = look.world.pipeline.next(stage.name, look.world.project, task.options)
    if following:
        return (PassOn(following, reason, judged=bool(stage.gates)),)
    text = ending(task, look.world.project, [*look.world.past, *look.evidence])
    return (Finish(reason), Tell(text, f"{task.id}:end"))


def _waits(look: Look, stage: Stage, reason: str) -> tuple[Action, ...]:
    until = look.task.since + stage.gate_timeout_s if stage.gate_timeout_s else None
    if look.waits_for_person or until is None:
        return rest(look, f"{stage.name}: {reason}")
    if look.now >= until:
        text = f"{stage.name} waited {span(stage.gate_timeout_s)} for its gates: {reason}"
        return failing.park(look, text, Key.NEEDS_INPUT)
    return rest(look, f"{stage.name}: {reason}", until)


def _ready(look: Look) -> tuple[Action, ...]:
    """Start the stage's job, unless something speaks against it; always gives an answer."""
    task, world = look.task, look.world
    stage = look.stage
    if stage is None or task.phase is not Phase.READY:  # `_unknown_stage`, and the rules of the other phases, answered
        return (Wait(f"{task.key} is {task.phase}"),)
    if task.not_before > look.now:
        left_s = task.not_before - look.now
        tries = f"{look.tried} of {stage.attempts} attempts made"
        return rest(look, f"{stage.name}: tried again in {span(left_s)} ({tries}): {task.reason}", task.not_before)
    if held := _unseen(look, stage) or _depends(look) or _baseless(look, stage):
        return held
    if world.paused_until > look.now:
        return rest(look, f"{stage.name}: {world.paused}", world.paused_until)
    if spending.costs(stage) and (over := gates.overspent(task, world.pipeline.budget, world.spend)):
        return failing.unpaid(look, over)
    budget = spending.budget_of(task, stage, world.pipeline.budget)
    usd = spending.grant(budget, world.spend)
    if usd == 0:
        return rest(look, f"{stage.name}: what is left of the budget is promised to jobs that are active or just lost")
    settings = {**stage.settings, **task.options.settings}
    limits = (usd, budget.run_turns, task.options.priority, budget)
    return (StartJob(stage.name, stage.step, task.attempts + 1, stage.timeout_s, settings, *limits),)


def _unseen(look: Look, stage: Stage) -> tuple[Action, ...]:
    """Hold a merge that would bring in what no gate saw.

    A definition that allows it is refused; but the pipeline may have changed since the task's labels were read, or
    since the task came through its stages.
    """
    if stage.step != "merge":
        return ()
    task, stages = look.task, look.world.pipeline.of(look.world.project)
    if found := unjudged(stages, task.options.skip, task.options.settings):
        text = f"by what its labels set {found.reason}: mend the pipeline, or cancel it and begin anew without them"
        return failing.park(look, text, Key.NEEDS_INPUT)
    if task.judged == task.sha or not gated(stages, stage.name):
        return ()
    text = f"no gate passed {task.sha[:SHORT] or 'what it is at'}, since the pipeline was changed under it"
    how = "push a commit to its branch before it goes on, which is judged anew, or cancel it and begin anew"
    return failing.park(look, f"{text}: {how}", Key.NEEDS_INPUT)


def _depends(look: Look) -> tuple[Action, ...]:
    """Hold a task that waits for others, before its first job; a person who releases it lets it go."""
    task = look.task
    if not unbegun(task):
        return ()
    waiting = [one for one in look.world.after if not one.done]
    if hopeless := next((one for one in waiting if one.hopeless), None):
        return failing.park(look, f"it waits for {hopeless.key}, which {hopeless.why}", Key.NEEDS_INPUT)
    if waiting:
        told = ", ".join(f"{one.key} ({one.why})" if one.why else one.key for one in waiting)
        return rest(look, f"waits for {told}")
    return ()


def _baseless(look: Look, stage: Stage) -> tuple[Action, ...]:
    """Hold a task whose worktree would be made from a branch that nobody has pushed yet."""
    if not look.world.lacks_base or stage.step not in WORKTREES:
        return ()
    text = f"{stage.name}: {_unpushed(look.world, f'{look.task.key} goes on')}"
    held = rest(look, text, look.now + BASE_S)
    return tuple(replace(one, for_base=True) if isinstance(one, Wait) else one for one in held)


def _unpushed(world: World, then: str) -> str:
    branch = world.project.branch
    return f"{world.lacks_base} has no branch {branch}: push {branch}, then {then} by itself"


RULES: tuple[Rule, ...] = (
    _arm,
    _cancelled,
    _active,
    _unheard,
    _ended,
    _parked,
    _unknown_stage,
    _pushed,
    _verdict,
    _gated,
    _ready,
)
"""Asked in this order; the first that has something to say holds."""
