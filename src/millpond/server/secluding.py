"""Keeping other processes of the same user out of this one: its memory, its environment and its files.

Jobs of the delivery are such processes, those of an earlier daemon that run on among them. So the daemon is closed to
them before it does anything else (`seclude`), and opened again where its configuration runs no jobs. Against a job that
means harm it is a small fence: what that user may read on the disk (the data directory, the configuration) is not
behind it.

A process that is closed has no core dumps either, and only root may look into it with a debugger (proc(5), prctl(2)).
What it forks is closed, too; what it starts as a program of its own is open as ever.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond.app.application import App
    from millpond.config import Config

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def seclude() -> bool:
    """Close this process to others of its user; gives whether it was open before."""
    prctl = ctypes.CDLL(None).prctl
    was = prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(was == 1)


def reveal_where_no_jobs_run(config: Config) -> bool:
    """Open a process that `seclude` has closed if no jobs may run beside it; gives whether it is open."""
    if config.projects and config.delivery.enabled and config.delivery.worker:
        return False
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    return True


def seclude_where_jobs_run(app: App) -> bool:
    """Close this process if jobs may run beside it by now; gives whether they may. It is not undone."""
    of = app.delivering
    if not (of.on and of.options.worker):
        return False
    seclude()
    return True
