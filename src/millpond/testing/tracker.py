"""A tracker in memory that fails as the test says, and what every tracker must do.

`FakeTracker` has boards, issues and comments; `down` makes each question fail, `fail_next` only the next ones,
`lose_next` lets a write take effect and fail all the same. `TrackerConformance` is what each tracker is held to.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from millpond.delivery.model import Comment, Hint, Issue, Listing, Project, State
from millpond.delivery.ports import Tracker, TrackerFailed
from millpond.errors import BadRequest, Denied
from millpond.testing.blobstore import expect


@dataclass(slots=True)
class FakeTracker:
    """A `millpond.delivery.ports.Tracker`. Time stands still but for `now`, which each write moves by a second."""

    columns: dict[str, list[State]] = field(default_factory=dict)
    issues: dict[tuple[str, str], Issue] = field(default_factory=dict)
    secret: bytes = b""
    now: float = 1_000_000.0
    down: bool = False
    fail_next: int = 0
    lose_next: int = 0
    after_s: float | None = None
    asked: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify ``X-Signature`` (HMAC-SHA256 of the body, hexadecimal)."""
        expected = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        if not self.secret or not hmac.compare_digest(expected, headers.get("X-Signature", "")):
            raise Denied("the webhook's signature is wrong", authenticate=True)
        try:
            told = json.loads(body)
            return Hint(str(told["project"]), str(told["issue"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadRequest("the webhook's body can't be read") from error

    async def states(self, project: Project) -> Sequence[State]:
        """Give the columns."""
        self._ask("states")
        return list(self.columns.get(project.name, ()))

    async def changed(self, project: Project, states: frozenset[str], since: float) -> Listing:
        """Give the issues in these columns that changed after a time."""
        self._ask("changed")
        mine = [one for (name, _), one in self.issues.items() if name == project.name]
        found = [replace(one, comments=()) for one in mine if one.state in states and one.updated_at > since]
        return Listing(tuple(found), complete=True, mark=max((one.updated_at for one in mine), default=0.0))

    async def get(self, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        """Read issues."""
        self._ask("get")
        return [self.issues[project.name, one] for one in ids if (project.name, one) in self.issues]

    async def move(self, project: Project, issue: str, state: str) -> None:
        """Move an issue."""
        self._ask("move")
        if state not in {one.id for one in self.columns.get(project.name, ())}:
            raise TrackerFailed(f"there is no column {state}", permanent=True)
        self.put(project, issue, state=state)
        self.moves.append((issue, state))
        self._lose()

    async def comment(self, project: Project, issue: str, text: str, key: str) -> None:
        """Write a comment once."""
        self._ask("comment")
        if key not in self.keys:
            self.keys[key] = issue
            self.say(project, issue, text, ours=True)
        self._lose()

    def put(self, project: Project, issue: str, **values: object) -> None:
        """Change an issue as a person does, or make it."""
        self.now += 1.0
        old = self.issues.get((project.name, issue))
        number = 1 + sum(name == project.name for name, _ in self.issues)
        made = old or Issue(issue, project.name, number, f"Issue {number}", "", self.now)
        self.issues[project.name, issue] = replace(made, **{"updated_at": self.now, **values})  # type: ignore[arg-type]

    def say(self, project: Project, issue: str, text: str, *, author: str = "ada", ours: bool = False) -> None:
        """Comment on an issue."""
        self.now += 1.0
        old = self.issues[project.name, issue]
        told = Comment(f"c{len(old.comments) + 1:06}", self.now, text, author, ours)
        self.issues[project.name, issue] = replace(old, comments=(*old.comments, told))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down or self.fail_next > 0:
            self.fail_next = max(self.fail_next - 1, 0)
            raise TrackerFailed("the tracker is down", after_s=self.after_s)

    def _lose(self) -> None:
        if self.lose_next > 0:
            self.lose_next -= 1
            raise TrackerFailed("the answer was lost")


class TrackerConformance:
    """The suite: subclass it, and give fixtures `tracker` and `project`, and an `issue`'s id with two columns."""

    async def test_a_move_is_seen_and_done_already_is_done(
        self, tracker: Tracker, project: Project, issue: str
    ) -> None:
        """Moving twice is as moving once."""
        first, second = [state.id for state in await tracker.states(project)][:2]
        for column in (first, second, second):
            await tracker.move(project, issue, column)
        (found,) = await tracker.get(project, [issue])
        expect(found.state == second, f"the issue stands at {found.state}")

    async def test_a_listing_has_what_stands_in_the_columns_asked_for(
        self, tracker: Tracker, project: Project, issue: str
    ) -> None:
        """And nothing else."""
        first, second = [state.id for state in await tracker.states(project)][:2]
        await tracker.move(project, issue, first)
        there = await tracker.changed(project, frozenset({first}), 0.0)
        elsewhere = await tracker.changed(project, frozenset({second}), 0.0)
        expect(issue in {one.id for one in there.issues}, "it is not listed where it stands")
        expect(issue not in {one.id for one in elsewhere.issues}, "it is listed where it does not stand")
        expect(all(one.project == project.name for one in there.issues), "an issue names another project")

    async def test_a_comment_is_written_once_for_each_key(self, tracker: Tracker, project: Project, issue: str) -> None:
        """However often it is sent; and it is known to be ours."""
        for key in ("k1", "k1", "k2"):
            await tracker.comment(project, issue, "told", key)
        (found,) = await tracker.get(project, [issue])
        ours = [one for one in found.comments if "told" in one.text]
        expect(len(ours) == len({"k1", "k2"}), f"{len(ours)} comments")
        expect(all(one.ours for one in ours), "our own comment is taken for a person's")

    async def test_what_does_not_exist_is_left_out(self, tracker: Tracker, project: Project, issue: str) -> None:
        """It is no error."""
        found = await tracker.get(project, [issue, "00000000-0000-0000-0000-000000000000"])
        expect([one.id for one in found] == [issue], f"{found}")

    async def test_a_column_that_is_not_there_is_refused_for_good(
        self, tracker: Tracker, project: Project, issue: str
    ) -> None:
        """It would be refused again."""
        try:
            await tracker.move(project, issue, "00000000-0000-0000-0000-000000000000")
        except TrackerFailed as error:
            expect(error.permanent, "it is said to be worth another try")
        else:
            expect(False, "it was taken")

    async def test_a_webhook_without_a_good_signature_is_refused(self, tracker: Tracker) -> None:
        """Whatever is in it."""
        for headers in ({}, {"X-Signature": ""}, {"X-Plane-Signature": "00"}):
            try:
                tracker.parse(headers, b"{}")
            except Denied:
                continue
            expect(False, f"{headers} was taken")
