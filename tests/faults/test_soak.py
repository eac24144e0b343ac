"""Hours of everything at once: no error, and nothing that grows. Two minutes here; `make soak` takes an hour."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from tests.faults.soaking import Soak
from tests.faults.traffic import fetch, operate

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import FakeUpstream

SECONDS = float(os.environ.get("MILLPOND_TEST_SOAK_S", "120"))
MIB = 1 << 20
CONFIG = """
[storage]
max_size = "24MiB"
high_watermark = 0.9
low_watermark = 0.7
collect_interval_s = 7
collect_grace_s = 2
[repositories.files]
package = "generic"
base_url = "{upstream}"
immutable_patterns = ["."]
"""
pytestmark = [pytest.mark.fault, pytest.mark.timeout(SECONDS + 600)]


@dataclass(frozen=True)
class Held:
    """What the daemon holds at one time."""

    at: float
    memory_mib: float
    files: int
    tasks: int
    threads: int


def held(pond: PondProcess, at: float) -> Held:
    status = Path(f"/proc/{pond.pid}/status").read_text()
    numbers = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if ":" in line and line.split()[1:]}
    values = json.loads(fetch(pond, "/metrics?format=json").body)
    return Held(
        round(at), round(int(numbers["VmRSS"]) / 1024, 1), sum(1 for _ in Path(f"/proc/{pond.pid}/fd").iterdir()),
        int(values["millpond_tasks"]), int(numbers["Threads"]),
    )  # fmt: skip


async def watch(pond: PondProcess, samples: list[Held], every_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        samples.append(await asyncio.to_thread(held, pond, loop.time() - began))
        await asyncio.sleep(every_s)


def memory(samples: list[Held], first: float, last: float) -> float:
    """Give the median over a part of the run (0 to 1), in MiB."""
    part = samples[int(len(samples) * first) : max(int(len(samples) * last), 1)]
    return statistics.median(one.memory_mib for one in part)


async def settled(pond: PondProcess, before: Held) -> Held:
    """Wait until what the clients held is given back; gives what is held then."""
    for _ in range(240):
        after = await asyncio.to_thread(held, pond, -1)
        if after.files <= before.files + 20 and after.tasks <= before.tasks + 2:
            break
        await asyncio.sleep(0.5)
    return after


async def test_everything_at_once_leaves_nothing_behind(make_pond):
    async with FakeUpstream() as origin:
        pond = await asyncio.to_thread(make_pond, CONFIG.format(upstream=origin.url))
        await asyncio.sleep(3)  # until it has counted its tasks for the first time
        before = await asyncio.to_thread(held, pond, 0)
        soak = Soak(pond, origin, SECONDS)
        samples: list[Held] = []
        watching = asyncio.create_task(watch(pond, samples, max(SECONDS / 200, 1)))
        await soak.run(keepalive=500, slow=1000, pullers=8)
        watching.cancel()
        after = await settled(pond, before)
    report = {"seconds": SECONDS, "done": dict(soak.done), "before": asdict(before), "after": asdict(after)}
    report["memory_mib"] = [one.memory_mib for one in samples[:: max(len(samples) // 12, 1)]]
    print(json.dumps(report))  # noqa: T201 - `make soak` shows it

    assert soak.wrong == []
    log = pond.log.read_text()
    assert "[error" not in log, log[-3000:]
    assert "[warning" not in log, log[-3000:]
    for kind in ("GET", "HEAD", "part", "slow", "left", "pulled", "flushed"):
        assert soak.done[kind] > 0, f"no {kind} in {dict(soak.done)}"
    assert after.files <= before.files + 20, "open files are left: hits keep some, transfers none"
    assert after.tasks <= before.tasks + 2, "while clients wait there are as many as they; then none"
    assert memory(samples, 0.8, 1) <= memory(samples, 0.3, 0.5) * 1.1 + 16
    assert after.threads <= 64
    assert list((pond.data / "spool").glob("*.part")) == []
    assert (await asyncio.to_thread(operate, pond, "fsck"))["ok"]
