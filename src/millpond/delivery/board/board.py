"""A project's board: which column is which logical state, what may be written to it, and what a column says. PURE.

The contract, part B: names are compared whatever their case; a key that the board lacks falls back to a base state of
the same project, then to the configured defaults, whose ids are never written to a board. Aliases never widen what is
skipped, and through an alias nothing is resumed by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from millpond.delivery.model import Input, Key, State

NAMES: Mapping[Key, str] = {
    Key.TO_ANALYSE: "To Analyse",
    Key.ANALYSIS: "Analysis",
    Key.IN_PROGRESS: "In Progress",
    Key.CODE_REVIEW: "Code Review",
    Key.AWAITING_DEPLOY: "Awaiting Deploy",
    Key.DEPLOYING: "Deploying",
    Key.MONITORING: "Monitoring after Deploy",
    Key.APPROVED: "Approved",
    Key.REJECTED: "Rejected",
    Key.NEEDS_INPUT: "Needs Input",
    Key.BLOCKED: "Blocked",
    Key.DONE: "Done",
    Key.CANCELLED: "Cancelled",
}
ALIASES: Mapping[Key, Key] = {
    Key.TO_ANALYSE: Key.IN_PROGRESS,
    Key.ANALYSIS: Key.IN_PROGRESS,
    Key.CODE_REVIEW: Key.IN_PROGRESS,
    Key.AWAITING_DEPLOY: Key.IN_PROGRESS,
    Key.DEPLOYING: Key.IN_PROGRESS,
    Key.MONITORING: Key.DONE,
}
"""The base state that stands for a finer one, on the same board."""
PEOPLES = frozenset({Key.TO_ANALYSE, Key.APPROVED, Key.REJECTED})
"""Columns that only people move an issue to; we never write them."""
INPUTS = PEOPLES | {Key.CANCELLED}
"""Columns that mean something when a person moves an issue there; of Cancelled we make use ourselves, too."""
VERDICTS: Mapping[Key, bool] = {Key.APPROVED: True, Key.REJECTED: False}
WAITING = frozenset(
    {
        Key.ANALYSIS,
        Key.CODE_REVIEW,
        Key.AWAITING_DEPLOY,
        Key.DEPLOYING,
        Key.MONITORING,
        Key.NEEDS_INPUT,
        Key.BLOCKED,
    }
)
"""The system's own waiting states: an issue that stands there waits for us, or for something else than its column."""
MAX_NAME = 255


def folded(name: str) -> str:
    """Write a column's name as it is compared: without case, and with single blanks."""
    return " ".join(name.split()).casefold()


def names(configured: Mapping[str, str]) -> Mapping[Key, str]:
    """Take the operator's names over the defaults. Raises `ValueError` in words for the operator.

    Two keys may share a column that we write; a column that people move issues to must be one of its own.
    """
    made = dict(NAMES)
    for key, name in configured.items():
        if key not in set(Key):
            raise ValueError(f'"{key}" is no state; write one of {", ".join(Key)}')
        if not folded(name) or len(name) > MAX_NAME:
            raise ValueError(f"the name of {key} is empty, or longer than {MAX_NAME} characters")
        made[Key(key)] = name
    for key in INPUTS:
        twin = next((other for other in Key if other != key and folded(made[other]) == folded(made[key])), None)
        if twin is not None:
            raise ValueError(
                f'{key} and {twin} are both "{made[key]}", so that nobody could tell what a move there means; '
                f"leave out one of them"
            )
    return made


@dataclass(frozen=True, slots=True)
class Board:
    """The columns of one project, resolved. `own` has the ids that the board itself has, `groups` those by column id.

    `defaults` are ids from the configuration: good for reading where the board gave nothing, never for writing.
    """

    own: Mapping[Key, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[Key, str] = field(default_factory=dict)

    def resolve(self, key: Key) -> str | None:
        """Give the column's id for a key: the board's own, its alias's, else the default; never raises."""
        alias = ALIASES.get(key, key)
        for ids in (self.own, self.defaults):
            if found := ids.get(key) or ids.get(alias):
                return found
        return None

    def writable(self, key: Key) -> str | None:
        """Give the column that shows a key on this board; None: it has none, and nothing is written."""
        if key in PEOPLES:
            return None
        return self.own.get(key) or self.own.get(ALIASES.get(key, key))

    def starts(self, state: str) -> bool:
        """Whether an issue that stands there is to be begun: `to_analyse`, or what stands for it."""
        return bool(state) and state == self.resolve(Key.TO_ANALYSE)

    def resumes(self, state: str) -> bool:
        """Whether a parked task is taken up by that column: only where `to_analyse` has one of its own."""
        return bool(state) and state == (self.own.get(Key.TO_ANALYSE) or self._default_only(Key.TO_ANALYSE))

    def verdict(self, state: str) -> bool | None:
        """Say what a column says about a gate: True approved, False rejected, None nothing."""
        return next((word for key, word in VERDICTS.items() if state and state == self.resolve(key)), None)

    def cancels(self, state: str) -> bool:
        """Whether that column takes an issue back: Cancelled, or any of the tracker's group of that name."""
        return bool(state) and (state == self.resolve(Key.CANCELLED) or self.groups.get(state) == "cancelled")

    def said(self, state: str) -> frozenset[Input]:
        """Give the kinds of input that an issue which stands there is, armed or not."""
        kinds = {Input.START} if self.starts(state) or self.resumes(state) else set()
        if self.verdict(state) is not None:
            kinds.add(Input.VERDICT)
        return frozenset(kinds)

    @property
    def wanted(self) -> frozenset[str]:
        """The columns that the reconciler looks for."""
        keys = (Key.TO_ANALYSE, Key.APPROVED, Key.REJECTED)
        return frozenset(found for key in keys if (found := self.resolve(key))) - self.skipped

    @property
    def skipped(self) -> frozenset[str]:
        """The waiting states that have columns of their own, and stand for nothing else."""
        others = {self.own[key] for key in self.own if key not in WAITING}
        return frozenset(self.own[key] for key in WAITING if key in self.own) - others

    @property
    def takes_verdicts(self) -> bool:
        """Whether it has both columns of a verdict; else comments and the command line give it."""
        return all(self.resolve(key) for key in VERDICTS)

    def _default_only(self, key: Key) -> str | None:
        """Give a key's default where the board itself was never seen."""
        return None if self.own else self.defaults.get(key)


def board(states: Iterable[State], called: Mapping[Key, str], defaults: Mapping[Key, str]) -> Board:
    """Resolve a board's columns by name. Of two with the same name the one written exactly so is it, else the first."""
    found = tuple(states)
    own: dict[Key, str] = {}
    for key, name in called.items():
        same = [state for state in found if state.id and folded(state.name) == folded(name)]
        exact = [state for state in same if state.name == name]
        if same:
            own[key] = (exact or same)[0].id
    return Board(own, {state.id: state.group for state in found}, defaults)
