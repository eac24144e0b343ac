"""What is done on several hosts by one command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millpond.app.hostops import _each
from millpond.errors import MillpondError


async def test_nothing_goes_on_behind_a_fault_that_nobody_foresaw():
    ended: list[str] = []

    async def work(name: str) -> dict[str, Any]:
        if name == "bad":
            raise KeyError(name)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)
        return {}

    with pytest.raises(KeyError):
        await _each(["slow", "bad"], work, lambda *_: None, "pruning")
    assert ended == ["slow"]


async def test_a_host_that_fails_is_a_row_among_the_others_in_order():
    async def work(name: str) -> dict[str, Any]:
        if name == "bad":
            raise MillpondError("no")
        return {"name": name, "error": None}

    rows = await _each(["bad", "good"], work, lambda *_: None, "pruning")
    assert [(row["name"], row["error"]) for row in rows] == [("bad", "no"), ("good", None)]
