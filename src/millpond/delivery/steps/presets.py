"""How coding agents are started: Claude Code, Codex, or any command; the prompt comes by the standard input. PURE."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from millpond.delivery.model import Json
from millpond.delivery.steps.transcripts import Prices

CENT = 0.01


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent is started with."""

    session: str
    """A UUID, chosen before the start."""
    turns: int | None = None
    usd: float | None = None
    model: str = ""
    more: Sequence[str] = ()
    """Further arguments, as the operator wants them."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of agent. `tells`: types of its events; `finals`: those after which it is done."""

    program: Sequence[str]
    tells: Collection[str] = ()
    finals: Collection[str] = ()
    passes: Collection[str] = ()
    """Names of variables that it needs, such as its key."""
    silent: bool = False
    """Whether it may end well without such an event, and say what it has to say in plain lines."""
    costs: bool = True
    """Whether each of its runs costs money, so that one whose cost is not known counts as all that it might have; a
    stage's setting `costs` goes before it."""

    def argv(self, ask: Ask) -> list[str]:
        """Write its command line; the prompt comes by the standard input."""
        return [*self.program, *ask.more]


class Claude(Preset):
    """Claude Code, headless; its budgets are its own business, too."""

    def argv(self, ask: Ask) -> list[str]:
        """Write its command line."""
        words = [*self.program, "-p", "--output-format", "stream-json", "--verbose", "--session-id", ask.session]
        words += ["--max-turns", str(ask.turns)] if ask.turns is not None else []
        words += ["--max-budget-usd", _dollars(ask.usd)] if ask.usd is not None else []
        words += ["--model", ask.model] if ask.model else []
        return [*words, *(ask.more or ("--permission-mode", "acceptEdits"))]


class Codex(Preset):
    """Codex, headless; it has no options for budgets, so turns are counted while it works."""

    def argv(self, ask: Ask) -> list[str]:
        """Write its command line."""
        words = [*self.program, "exec", "--json"]
        words += ["--model", ask.model] if ask.model else []
        return [*words, *(ask.more or ("--sandbox", "workspace-write")), "-"]


_CODEX_TELLS = ("thread.started", "item.started", "item.completed", "turn.completed", "turn.failed", "error")


def _dollars(usd: float) -> str:
    """Write an amount in cents, and what is less than one in full: 0.00 would be no budget at all."""
    return f"{usd:.2f}" if usd >= CENT else f"{usd:.6f}"


PRESETS: Mapping[str, Preset] = {
    "claude": Claude(
        ("claude",), ("system", "assistant", "result"), ("result",), ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
    ),
    "codex": Codex(("codex",), _CODEX_TELLS, ("turn.completed", "turn.failed"), ("OPENAI_API_KEY", "CODEX_API_KEY")),
    "command": Preset((), ("result",), ("result",), silent=True, costs=False),
}


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The operator's choice; a stage's settings of the same names go before it."""

    preset: str = "claude"
    argv: Sequence[str] = ()
    """The program in the place of the preset's own; with the preset ``command`` all of it."""
    model: str = ""
    more: Sequence[str] = ()
    stall_s: float = 900.0
    repeats: int = 50
    prices: Prices = field(default_factory=Prices)
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Templates by name, beside and before the built-in ones."""


def program(step: str, settings: Mapping[str, Json]) -> str:
    """Name the program that a stage starts in a worktree, by its own settings; empty: none, or nobody knows which."""
    argv, preset = settings.get("argv"), settings.get("preset", AgentOptions().preset)
    given = [str(word) for word in argv] if isinstance(argv, list) else []
    usual = PRESETS[str(preset)].program if step == "agent" and preset in PRESETS else ()
    return next(iter(given or usual), "") if step in {"agent", "command"} else ""
