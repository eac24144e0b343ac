"""What is done when a job or a gate fails: again, back, or to a person. PURE.

A deployment of this system by itself is never acted upon: its monitor alerts, and touches nothing.
"""

from __future__ import annotations

from millpond.delivery.deciding import advice
from millpond.delivery.deciding.actions import Action, Alert, ParkTask, SendBack, Tell, TryAgain
from millpond.delivery.deciding.looking import Look
from millpond.delivery.model import Job, Key
from millpond.delivery.pipeline import Backoff, OnFail, Then

MAX_AFTER_S = 86400.0
"""A step's or an upstream's own wish is not followed beyond."""
PATIENCE_S = 86400.0
"""How long a job's time may not come before a person is asked."""
LEAST_S = 1.0
SLOWER = 0.05
"""How much of the time that was waited is waited once more."""


def retry(look: Look, job: int | None, reason: str, after_s: float) -> tuple[Action, ...]:
    """Try again later, as long as attempts are left; a job that was lost has used one up, too."""
    allowed = look.stage.attempts if look.stage else 1
    if look.tried >= allowed:
        return failed(look, f"{reason} (attempt {look.tried} of {allowed})", job)
    backoff = look.stage.backoff if look.stage else Backoff()
    wait_s = max(min(after_s, MAX_AFTER_S), backoff.after(max(look.tried, 1)))
    return (TryAgain(job, look.now + wait_s, reason),)


def not_yet(look: Look, job: Job) -> tuple[Action, ...]:
    """Have a job done later whose time has not come; that uses up no attempt, but a person is asked some day.

    What somebody else's work holds up is asked for less and less often. A monitor looks as often as it is told to, for
    as long as it is told to, and no longer than that much more.
    """
    begun = min(
        (one.started_at for one in look.jobs if one.visit == job.visit and one.started_at > 0), default=look.now
    )
    waited_s = max(look.now - begun, 0.0)
    watched = job.settings.get("for_s") if job.step == "monitor" else None
    for_s = float(watched) if isinstance(watched, int | float) and watched > 0 else 0.0
    if waited_s >= PATIENCE_S + for_s:
        return failed(look, f"{job.reason} ({waited_s / 3600:.0f} h long)", job.id)
    wait_s = max(min(job.after_s, MAX_AFTER_S), LEAST_S, 0.0 if job.step == "monitor" else waited_s * SLOWER)
    return (TryAgain(job.id, look.now + wait_s, job.reason),)


def failed(look: Look, reason: str, job: int | None = None) -> tuple[Action, ...]:
    """Do what the stage says about its failure."""
    stage = look.stage
    if stage is not None and stage.step == "monitor" and look.world.project.own:
        text = f"{look.task.key}: {reason}. This Millpond was deployed by itself, so nothing is touched."
        return (ParkTask(reason, None, job, _stands(look)), Alert(text, f"{look.task.id}:{look.task.visit}:own"))
    rule = stage.on_fail if stage is not None else OnFail()
    back_to = look.world.pipeline.back_to(rule.back_to, look.world.project, look.task.options)
    if rule.then is Then.BACK and back_to and look.task.returns < rule.times:
        return _sent_back(
            look, back_to, f"sent back from {look.task.stage} ({look.task.returns + 1} of {rule.times}): {reason}", job
        )
    if rule.then is Then.BACK:
        reason = f"{reason} (sent back {look.task.returns} times)"
    return park(look, reason, Key.BLOCKED if rule.then is Then.BLOCK else Key.NEEDS_INPUT, job)


def _sent_back(look: Look, to: str, reason: str, job: int | None) -> tuple[Action, ...]:
    """Have a stage done again, and say so on the issue."""
    text = f"{look.task.key} is {reason}{stop(reason)} {to} is done again."
    return (SendBack(to, reason, job), Tell(text, f"{look.task.id}:{look.task.visit}:back"))


def stop(text: str) -> str:
    """Give the full stop that a sentence lacks."""
    return "" if text.endswith((".", "?", "!")) else "."


def park(look: Look, reason: str, shows: Key, job: int | None = None) -> tuple[Action, ...]:
    """Hand the task to a person, durably, and say so on the issue."""
    board = "move it to To Analyse, or run" if look.world.board.own.get(Key.TO_ANALYSE) else "run"
    return _parked(look, reason, shows, f"To go on, {board} `millpond task release {look.task.key}`.", job)


def ask(look: Look, question: str, shows: Key, job: int) -> tuple[Action, ...]:
    """Hand a step's question to a person: without an answer it would be asked, and paid for, again."""
    board = "move it to To Analyse, or run" if look.world.board.own.get(Key.TO_ANALYSE) else "run"
    how = f"Answer in a comment here first; then {board} `millpond task release {look.task.key}`."
    return _parked(look, question, shows, how, job)


def unpaid(look: Look, over: str) -> tuple[Action, ...]:
    """Hand a task to a person whose money is spent (`gates.overspent`), its own or the day's."""
    release = f"`millpond task release {look.task.key}"
    if advice.BUDGET in over:
        how = f"To go on, run {release} --usd N` with a larger budget for all of it."
    else:
        how = f"The day's budget comes back at midnight UTC; then run {release}`."
    return _parked(look, over, Key.NEEDS_INPUT, how)


def _parked(look: Look, reason: str, shows: Key, how: str, job: int | None = None) -> tuple[Action, ...]:
    text = f"{look.task.key} is parked: {reason}{stop(reason)} {how}"
    return (ParkTask(reason, shows, job, _stands(look)), Tell(text, f"{look.task.id}:{look.task.visit}:parked"))


def _stands(look: Look) -> bool:
    """Whether the issue stands where a move would resume its task: that was said of something else."""
    return look.world.board.resumes(look.issue.state)
