"""How much a job may spend: the least of what each budget has left, less what is promised. PURE.

Promised is what active jobs may still spend, and what lost ones may have spent until it is counted.
"""

from __future__ import annotations

from millpond.delivery.model import NO_BUDGET, Budget, Spend, Task
from millpond.delivery.pipeline import Stage

COSTLY = frozenset({"agent"})
"""The steps that cost money. Another one does where its stage has a `run_usd` of its own."""
LEAST_USD = 1e-6
"""Less is nothing: what sums of fractions leave over would begin a run that may spend none."""


def costs(stage: Stage) -> bool:
    """Whether a stage's jobs can cost anything, so that budgets hold for them."""
    return stage.step in COSTLY or stage.run_usd is not None


def budget_of(task: Task, stage: Stage, budget: Budget) -> Budget:
    """Give the budgets that hold for a job: the stage's own and the task's own before the pipeline's."""
    if not costs(stage):
        return NO_BUDGET
    return Budget(
        stage.run_usd if stage.run_usd is not None else budget.run_usd,
        task.options.task_usd if task.options.task_usd is not None else budget.task_usd,
        budget.day_usd,
        stage.run_turns if stage.run_turns is not None else budget.run_turns,
    )


def grant(budget: Budget, spend: Spend) -> float | None:
    """Give a job's allowance in US dollars; None: there is no limit; 0: nothing is left at present."""
    left = [
        budget.run_usd,
        None if budget.task_usd is None else budget.task_usd - spend.task_usd - spend.owed_usd,
        None if budget.day_usd is None else budget.day_usd - spend.day_usd - spend.promised_usd,
    ]
    least = min((one for one in left if one is not None), default=None)
    return least if least is None or least > LEAST_USD else 0.0


def holds(usd: float | None, budget: Budget, spend: Spend) -> bool:
    """Whether an allowance that was granted some time ago is still there."""
    left = grant(budget, spend)
    return left is None or (usd is not None and usd <= left + LEAST_USD)
