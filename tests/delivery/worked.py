"""A worker with one step that runs a detached script; run as a program it works until it is killed.

``python -m tests.delivery.worked DATABASE FOLDER``
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.delivery.conftest import open_database

from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Done, Failed, Job, Outcome
from millpond.delivery.runs.runfolder import AT_WORST
from millpond.delivery.runs.runs import Runs, Spec
from millpond.delivery.worker import Worker, WorkerOptions

SCRIPT = "echo begins; touch began; while [ ! -e go ]; do sleep 0.05; done; echo ends"


class SlowStep:
    """Runs until the file ``go`` is there."""

    name = "agent"

    def __init__(self, runs: Runs, folder: Path) -> None:
        self._runs, self._folder = runs, folder
        self.begun = 0

    async def run(self, job: Job) -> Outcome:
        name = f"job-{job.id}"
        run = await self._runs.find(name)
        if run is None:
            self.begun += 1
            spec = Spec(["sh", "-c", SCRIPT], self._folder, {"PATH": os.environ["PATH"]}, notes={AT_WORST: 3.0})
            run = await self._runs.start(name, spec)
        ended = await self._runs.wait(run)
        return Done() if ended.rc == 0 else Failed(str(ended))


def make_worker(ledger: Ledger, runs: Runs, step: SlowStep) -> Worker:
    options = WorkerOptions(lease_s=60, beat_s=0.1, idle_s=0.1)
    return Worker("n1", ledger, {"agent": step}, runs, options)


async def main(url: str, folder: Path) -> None:
    runs = Runs(folder / "runs")
    db = open_database(url)
    await make_worker(Ledger(Books(db)), runs, SlowStep(runs, folder)).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
