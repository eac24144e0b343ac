"""What people are told of issues and tasks: why one stands where it stands, what it waits for, what was done about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.delivering import LOCAL, pushed, until

from millpond.delivery.model import Done, Failed, Job, Outcome

OFF = "[delivery]\nworker = false\nreconcile = false\n"
PIPELINE = """
[[stages]]
name = "build"
step = "command"
settings = { argv = ["make"] }
on_fail = { back_to = "build", times = 2 }
[[stages]]
name = "test"
step = "command"
settings = { argv = ["make", "test"] }
on_fail = { back_to = "build" }
gates = ["human-verdict"]
"""
Begin = Callable[..., Awaitable[Any]]


async def ask(app: Any, operation: str, **arguments: Any) -> Any:
    return await app.operations[operation](progress=lambda *_: None, **arguments)


@pytest.fixture
def begin(open_pond: Any) -> Begin:
    """Open an application with the embedded board, whose project has its branch with a pipeline."""

    async def opened(pipeline: str = PIPELINE) -> Any:
        app = (await open_pond(LOCAL + OFF)).app
        await pushed(app, pipeline)
        await app.started()
        return app

    return opened


async def work(app: Any, outcome: Outcome) -> Job:
    """Have the next job end so, and be taken into its task."""

    async def claimed() -> list[Job]:
        return list(await app.delivering.ledger.jobs.claim("w", 60, most=4))

    (job,) = await until(claimed)
    await app.delivering.ledger.jobs.finish(job, outcome)

    async def settled() -> bool:
        jobs = await app.delivering.ledger.jobs.of(job.task)
        return any(one.id == job.id and one.settled for one in jobs)

    await until(settled)
    return job


async def said(app: Any, key: str, word: str) -> str:
    """Wait until a comment with some words is on an issue, and give it."""

    async def found() -> str:
        shown = await ask(app, "board_show", key=key)
        return next((one["text"] for one in shown["comments"] if word in one["text"]), "")

    return await until(found)


async def test_that_a_task_was_sent_back_is_told_until_it_comes_further(begin: Begin):
    app = await begin()
    await ask(app, "board_new", title="x", column="To Analyse")
    await work(app, Done("a" * 40))
    await work(app, Failed("the tests are red."))
    text = "sent back from test (1 of 3): the tests are red."
    assert await said(app, "SH-1", "sent back") == f"SH-1 is {text} build is done again."

    async def queued() -> bool:
        return bool(await app.delivering.ledger.jobs.active())

    await until(queued)
    assert text in (await ask(app, "why", ref="SH-1"))["verdict"]
    assert text in (await ask(app, "task_show", task="SH-1"))["waits"]
    await work(app, Done("b" * 40))
    await until(queued)
    assert "sent back" not in (await ask(app, "why", ref="SH-1"))["verdict"]
