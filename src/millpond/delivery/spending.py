"""How much a job may spend: the least of what each budget has left, less what active jobs may still spend. PURE."""

from __future__ import annotations

from millpond.delivery.model import Budget, Spend, Task
from millpond.delivery.pipeline import Stage


def grant(task: Task, stage: Stage, budget: Budget, spend: Spend) -> float | None:
    """Give a job's allowance in US dollars; None: there is no limit; 0 or less: nothing is left at present."""
    run_usd = stage.run_usd if stage.run_usd is not None else budget.run_usd
    task_usd = task.options.task_usd if task.options.task_usd is not None else budget.task_usd
    left = [
        run_usd,
        None if task_usd is None else task_usd - spend.task_usd,
        None if budget.day_usd is None else budget.day_usd - spend.day_usd - spend.promised_usd,
    ]
    return min((one for one in left if one is not None), default=None)
