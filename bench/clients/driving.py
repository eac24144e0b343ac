"""Starting the load drivers, pinned, and reading what they found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import machine, stats
from bench.clients import slow
from bench.clients.fetch import Answer, Order

OK = 200
ROOT = Path(__file__).parent.parent.parent


class Driver:
    """A load driver under way: a context manager, so that none is left behind."""

    def __init__(self, order: Order | slow.Order, cores: frozenset[int], module: str = "bench.clients.fetch") -> None:
        with machine.on_cores(cores):
            self._process = subprocess.Popen(
                [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)))
        self._process.stdin.close()
        self._process.stdin = None

    @property
    def running(self) -> bool:
        """Whether it has something to do still."""
        return self._process.poll() is None

    def output(self, timeout_s: float = 600.0) -> str:
        """Wait for its end, and give what it wrote. Raises `RuntimeError` where it failed."""
        out, _ = self._process.communicate(timeout=timeout_s)
        if self._process.returncode:
            raise RuntimeError(f"the load driver ended with {self._process.returncode}")
        return out

    def answers(self) -> list[Answer]:
        """Wait for the answers. Raises `RuntimeError` where it failed, or an answer was none."""
        found = [_answer(one) for one in json.loads(self.output())]
        wrong = [status for *_, status in found if status != OK]
        if wrong or not found:
            raise RuntimeError(f"{len(wrong)} of {len(found)} answers were wrong (statuses {sorted(set(wrong))})")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.running:
            self._process.terminate()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()


def fetch(order: Order, cores: frozenset[int]) -> list[Answer]:
    """Carry out an order and wait for it. Raises `RuntimeError` where an answer was wrong."""
    with Driver(order, cores) as driver:
        return driver.answers()


def seconds(answers: Sequence[Answer]) -> float:
    """From the first request to the last byte."""
    return max(one[2] for one in answers) - min(one[0] for one in answers)


def first_byte_ms(answers: Sequence[Answer]) -> float:
    """How long the client that waited longest waited for its first body byte."""
    return max(one[1] - one[0] for one in answers) * 1000


def p99_ms(answers: Sequence[Answer]) -> float:
    """How long the slowest but one per cent of the answers took, from request to last byte."""
    return stats.percentile([one[2] - one[0] for one in answers], 0.99) * 1000


def _answer(told: Sequence[float]) -> Answer:
    return told[0], told[1], told[2], int(told[3]), int(told[4])
