"""Keeping other processes of the same user out of this one: its memory, its environment and its files.

Jobs of the delivery are such processes. Against one that means harm it is a small fence: what that user may read on the
disk (the data directory, the configuration) is not behind it.
"""

from __future__ import annotations

import ctypes

from millpond.app import App

_PR_SET_DUMPABLE = 4


def seclude_where_jobs_run(app: App) -> bool:
    """Close this process to others of its user if jobs may run beside it; gives whether it is. It is not undone.

    It then has no core dumps either, and only root may look into it with a debugger (proc(5), prctl(2)). What it starts
    as a program of its own is open as ever.
    """
    of = app.delivering
    if not (of.on and of.options.worker):
        return False
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return True
