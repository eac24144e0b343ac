"""What coding agents write while they work, read line by line: turns, cost, repetitions, the end. PURE.

Claude Code's ``stream-json`` and Codex's ``--json`` lines; other programs may write a ``result`` line as Claude does.
What is not understood is passed over: these formats grow.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millpond.delivery.model import Spent

MAX_TEXT = 20_000
_QUESTION = re.compile(r"^[ \t>*#]*QUESTION:[ \t*]*([^\s*][^\n]*)", re.MULTILINE)
_PASSING = re.compile(
    r"rate.?limit|overloaded|too many requests|\b429\b|\b5(?:00|02|03|04|29)\b|time.?d? ?out|connection|network"
    r"|temporar|usage limit|quota|high demand"
    r"|disconnected|sending request|reading the server response|broken pipe"
    r"|\bE(?:CONN|PIPE|HOST|NET|AI_AGAIN|TIMEDOUT)",
    re.IGNORECASE,
)
_WORKING = frozenset({"agent_message", "command_execution", "file_change", "mcp_tool_call", "web_search"})


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens; None: that is not known."""

    input: float | None = None
    cached: float | None = None
    output: float | None = None


@dataclass(slots=True)
class Transcript:
    """What was read of one run so far."""

    turns: int | None = None
    """How many it may take; None: as many as it likes."""
    repeats: int = 50
    """How often it may run one command."""
    prices: Prices = field(default_factory=Prices)
    session: str = ""
    text: str = ""
    """What it said last."""
    ended: bool = False
    error: str = ""
    """Why it ended without success, or what went wrong last; empty: nothing, or it got over it."""
    over: str = ""
    """Which budget of the run was spent, in its own words; empty: none."""
    usd: float | None = None
    """What it cost; None: it did not tell."""
    _seen: set[str] = field(default_factory=set)
    _told_turns: int = 0
    _commands: Counter[str] = field(default_factory=Counter)

    def hear(self, line: bytes) -> str:
        """Take an event's line; gives why the run is to be ended, or nothing."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(event, dict):
            return ""
        match event.get("type"):
            case "system":
                self.session = self.session or _text(event.get("session_id"))
            case "thread.started":
                self.session = self.session or _text(event.get("thread_id"))
            case "assistant":
                self._message(_object(event.get("message")))
            case "item.started" | "item.completed":
                self._item(_object(event.get("item")), done=event["type"] == "item.completed")
            case "result":
                self._result(event)
            case "turn.completed":
                # Codex tells of a connection that it found again ("Reconnecting... 1/5") as an error, too.
                self.ended, self.error, self.usd = True, "", self._priced(_object(event.get("usage")))
            case "turn.failed" | "error":
                self._failed(event)
        return self._reason()

    @property
    def spent(self) -> Spent:
        """What is known of the cost."""
        return Spent(self.usd or 0.0, max(self._told_turns, len(self._seen)))

    @property
    def question(self) -> str:
        """What it asks a person, in a line ``QUESTION: ...`` of what it said last; empty: nothing."""
        return question_in(self.text)

    @property
    def passes(self) -> bool:
        """Whether its error may pass."""
        return bool(_PASSING.search(self.error))

    def _reason(self) -> str:
        if self.turns is not None and len(self._seen) > self.turns and not self.ended:
            self.over = f"{self.turns} turns"
            return f"its {self.turns} turns are used up"
        command, times = max(self._commands.items(), key=lambda one: one[1], default=("", 0))
        return f"one command was repeated {times} times: {command[:200]}" if times > self.repeats else ""

    def _message(self, message: Mapping[str, Any]) -> None:
        self._seen.add(_text(message.get("id")) or f"#{len(self._seen)}")
        for part in message.get("content") or () if isinstance(message.get("content"), list) else ():
            block = _object(part)
            if block.get("type") == "tool_use":
                given = _object(block.get("input"))
                command = given.get("command") or json.dumps(given, sort_keys=True)
                self._commands[f"{_text(block.get('name'))} {command}"[:2000]] += 1
            elif block.get("type") == "text":
                self.text = _text(block.get("text"))

    def _item(self, item: Mapping[str, Any], *, done: bool) -> None:
        kind = _text(item.get("type"))
        if done and kind in _WORKING:
            self._seen.add(_text(item.get("id")) or f"#{len(self._seen)}")
        if done and kind == "agent_message":
            self.text = _text(item.get("text"))
        if not done and kind == "command_execution":
            self._commands[_text(item.get("command"))[:2000]] += 1

    def _result(self, event: Mapping[str, Any]) -> None:
        self.ended = True
        self.text = _text(event.get("result")) or self.text
        self.session = _text(event.get("session_id")) or self.session
        self.usd = _number(event.get("total_cost_usd"))
        self._told_turns = int(_number(event.get("num_turns")) or 0)
        kind = _text(event.get("subtype"))
        if kind.startswith("error_max_"):
            self.over = kind.removeprefix("error_max_").replace("_", " ")
        elif event.get("is_error") is True or kind.startswith("error"):
            self.error = _text(event.get("result")) or kind or "an error without a text"

    def _failed(self, event: Mapping[str, Any]) -> None:
        told = _text(_object(event.get("error")).get("message")) or _text(event.get("message"))
        self.error = told or "an error without a text"
        self.ended = self.ended or event.get("type") == "turn.failed"

    def _priced(self, usage: Mapping[str, Any]) -> float | None:
        """Work out the cost; None: there are no prices."""
        price = self.prices
        if price.input is None or price.output is None:
            return None
        given = _number(usage.get("input_tokens")) or 0.0
        cached = min(_number(usage.get("cached_input_tokens")) or 0.0, given)
        made = _number(usage.get("output_tokens")) or 0.0
        each = price.input if price.cached is None else price.cached
        return (self.usd or 0.0) + ((given - cached) * price.input + cached * each + made * price.output) / 1e6


def question_in(text: str) -> str:
    """Find the last line ``QUESTION: ...`` in a text; empty: there is none."""
    found = _QUESTION.findall(text)
    return found[-1].strip() if found else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Read a text; half a pair of surrogates, as where a program cut one in a character, is nothing to write down."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """Read a number that is not negative; anything else is none."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if sound else None
