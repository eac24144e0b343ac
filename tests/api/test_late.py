"""An application that is made when it is first asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from millpond.api.late import Late

pytestmark = pytest.mark.process


class Maker:
    """Makes an application that notes its calls; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.made, self.served = failures, 0, 0
        self.threads: set[int] = set()
        self.may_end = threading.Event()

    def __call__(self):
        self.threads.add(threading.get_ident())
        self.may_end.wait(30)
        self.made += 1
        if self.made <= self.failures:
            raise OSError("not now")
        return self.app

    async def app(self, *_):
        self.served += 1


async def ask(late):
    await late({}, None, None)


async def test_it_is_made_once_for_all_who_wait_and_not_in_the_loop_of_the_hits():
    maker = Maker()
    late = Late(maker)
    asking = [asyncio.create_task(ask(late)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert maker.served == 0
    maker.may_end.set()
    await asyncio.gather(*asking)
    await ask(late)
    assert (maker.made, maker.served) == (1, 6)
    assert maker.threads.isdisjoint({threading.get_ident()})


async def test_what_could_not_be_made_is_tried_again():
    maker = Maker(failures=1)
    maker.may_end.set()
    late = Late(maker)
    with pytest.raises(OSError, match="not now"):
        await ask(late)
    await ask(late)
    assert (maker.made, maker.served) == (2, 1)


async def test_whoever_leaves_first_leaves_the_others_waiting_for_the_same():
    maker = Maker()
    late = Late(maker)
    first, second = (asyncio.create_task(ask(late)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    maker.may_end.set()
    await second
    assert (maker.made, maker.served) == (1, 1)


def test_serving_artifacts_needs_no_web_framework():
    code = "import sys, millpond.server.main; sys.exit(any(m in sys.modules for m in ('fastapi', 'starlette')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
