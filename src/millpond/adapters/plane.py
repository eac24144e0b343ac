"""Plane as a `millpond.delivery.ports.Tracker` (its API ``/api/v1``, Community edition 1.3 and others).

What it takes to read it rightly:
- A list has neither a filter by state nor one by time: it is read newest change first, down to where the last complete
  reading came to. Pages go by offset, so items repeat or are skipped while others change: repeated ones are dropped,
  and where something vanished meanwhile the listing says that it is not complete.
- Only ``next_page_results`` tells whether a page follows; ``next_cursor`` is there on the last one, too.
- Items have changes without a new time stamp (the auto-close job): the engine lists everything now and then.
- Older servers have ``issues`` where newer ones have ``work-items``.
- A comment is idempotent by its pair of external source and id: 409 says that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from millpond.adapters import planehooks
from millpond.adapters.httpjson import Answer, ApiOptions, JsonApi, Large, in_a_thread, segment
from millpond.adapters.planeitems import comment, described, identifier, issue, label_ids, marked_up, state
from millpond.adapters.planepeople import People
from millpond.clock import Clock
from millpond.delivery.model import Comment, Hint, Issue, Json, Listing, Project, State
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Use

NEW, OLD = "work-items", "issues"
PER_PAGE = 100
MAX_PAGES = 1000
MAX_STATES_PAGES = 5
MAX_COMMENT_PAGES = 3
LABELS_TTL_S = 300.0
UNKNOWN_LABEL_S = 30.0
"""How often labels are read again when one is used that was not there."""
SOURCE = "millpond"
MAX_KEY = 255
FIELDS = "id,name,state,updated_at,sequence_id,labels"
"""What a listing asks for: without descriptions a page of 100 stays below 64 KiB."""
LATER_S = 60.0
"""When to come again after an answer that nobody expected."""
NOT_FOUND, CONFLICT, BAD = 404, 409, 400


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """Where a Plane is, and who we are there; `webhook_secret` empty: no webhook is taken."""

    url: str
    workspace: str
    token: str = field(repr=False)
    webhook_secret: str = field(default="", repr=False)
    timeout_s: float = 30.0


@dataclass(slots=True)
class _Labels:
    names: dict[str, str]
    at: float


@dataclass(slots=True)
class _Pages:
    """A list as it is read page by page, without what came twice."""

    items: dict[str, Json] = field(default_factory=dict)
    sound: bool = True
    """Whether nothing was unreadable, and nothing vanished between two pages."""
    total: int | None = None

    def add(self, answer: Answer) -> list[Json]:
        """Take a page; gives what was on it."""
        body = answer.body if isinstance(answer.body, dict) else {}
        found = body.get("results")
        page = found if isinstance(found, list) else []
        total = body.get("total_results")
        if not isinstance(found, list) or (isinstance(total, int) and self.total is not None and total < self.total):
            self.sound = False  # gone from an earlier page: what came behind it moved up, past us
        self.total = total if isinstance(total, int) else self.total
        for one in page:
            key = identifier(one)
            self.sound = self.sound and bool(key)
            self.items.setdefault(key, one)
        return page


class Plane:
    """The projects of one workspace."""

    def __init__(
        self, options: PlaneOptions, clock: Clock, *, budget: RateBudget | None = None, large: Large = in_a_thread
    ) -> None:
        self._secret = options.webhook_secret.encode()
        self._monotonic = clock.monotonic
        base = f"{options.url.rstrip('/')}/api/v1/workspaces/{segment(options.workspace)}/projects"
        api = ApiOptions("Plane", base, {"X-Api-Key": options.token}, timeout_s=options.timeout_s)
        self._api = JsonApi(api, TrackerFailed, now=clock.now, budget=budget, large=large)
        self._people = People(self._api, clock.monotonic)
        self._noun = ""
        self._labels: dict[str, _Labels] = {}

    @property
    def budget(self) -> RateBudget | None:
        """The rate budget that its requests draw from."""
        return self._api.budget

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify a webhook and say where to look."""
        return planehooks.read(self._secret, headers, body)

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def states(self, project: Project) -> Sequence[State]:
        """Give the columns."""
        pages = await self._all(f"{_place(project)}/states/", Use.READ, MAX_STATES_PAGES)
        found = [state(one) for one in pages.items.values()]
        if not pages.sound or not all(found):
            raise TrackerFailed(f"Plane's columns of {project.name} can't be read")
        return [one for one in found if one is not None]

    async def changed(self, project: Project, states: frozenset[str], since: float) -> Listing:
        """Give the issues in these columns that changed after a time; repeated and moving pages are seen through."""
        query = {"order_by": "-updated_at", "fields": FIELDS}
        path = f"{_place(project)}/{{noun}}/"
        older = _OlderThan(since)
        pages = await self._all(path, Use.LISTING, MAX_PAGES, query, until=older)
        labels = await self._names(project, frozenset().union(*(label_ids(one) for one in pages.items.values())))
        read = {key: issue(one, project.name, labels) for key, one in pages.items.items()}
        issues = [one for one in read.values() if one is not None]
        mark = max((one.updated_at for one in issues), default=since)
        found = tuple(one for one in issues if one.state in states and one.updated_at > since)
        unread = frozenset(key for key, one in read.items() if one is None)
        return Listing(found, complete=pages.sound and "" not in unread, mark=mark, unread=unread - {""})

    async def get(self, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        """Read issues with their comments."""
        found = [await self._one(project, one) for one in ids]
        return [one for one in found if one is not None]

    async def move(self, project: Project, issue: str, state: str) -> None:
        """Move an issue."""
        answer = await self._item("PATCH", project, issue, Use.WRITE, body={"state": state})
        if answer.status == NOT_FOUND:
            raise TrackerFailed(f"Plane has no issue {issue} in {project.name}", permanent=True)
        if answer.status == BAD:
            raise TrackerFailed(f"Plane refuses the column {state}: {answer.said}", permanent=True)
        _fine(answer, "moving an issue")

    async def comment(self, project: Project, issue: str, text: str, key: str) -> None:
        """Write a comment once."""
        body: dict[str, Json] = {
            "comment_html": marked_up(text),
            "external_source": SOURCE,
            "external_id": key[:MAX_KEY],
        }
        answer = await self._item("POST", project, issue, Use.WRITE, "comments/", body=body)
        if answer.status == CONFLICT:  # it is there: an earlier answer was lost
            return
        if answer.status in {NOT_FOUND, BAD}:
            raise TrackerFailed(f"Plane refuses a comment on {issue}: {answer.said}", permanent=True)
        _fine(answer, "writing a comment")

    async def _one(self, project: Project, wanted: str) -> Issue | None:
        answer = await self._item("GET", project, wanted, Use.READ)
        if answer.status == NOT_FOUND:
            return None
        _fine(answer, "reading an issue")
        comments = await self._comments(project, wanted)
        names = await self._names(project, label_ids(answer.body))
        found = described(issue(answer.body, project.name, names, comments), answer.body)
        if found is None:
            raise TrackerFailed(f"Plane's issue {wanted} can't be read")
        return found

    async def _comments(self, project: Project, wanted: str) -> tuple[Comment, ...]:
        path = f"{_place(project)}/{{noun}}/{segment(wanted)}/comments/"
        pages = await self._all(path, Use.READ, MAX_COMMENT_PAGES, {"order_by": "-created_at"}, whole=False)
        read = list[Comment | None]()
        for one in pages.items.values():
            read.append(comment(one, SOURCE))
            await asyncio.sleep(0)  # hundreds of long ones are not read in one go on the event loop
        found = sorted((one for one in read if one is not None), key=lambda one: (one.at, one.id))
        theirs = frozenset(one.author for one in found if one.author and not one.ours)
        names = await self._people.named(_place(project), theirs)
        return tuple(replace(one, name=names.get(one.author, "")) for one in found)

    async def _names(self, project: Project, ids: frozenset[str]) -> Mapping[str, str]:
        """Give the names of labels by id; they are asked for only where one is used, and not too often."""
        kept, now = self._labels.get(project.name), self._monotonic()
        names = kept.names if kept is not None else {}
        age_s = now - kept.at if kept is not None else LABELS_TTL_S
        if not ids or age_s < (LABELS_TTL_S if ids <= names.keys() else UNKNOWN_LABEL_S):
            return names
        pages = await self._all(f"{_place(project)}/labels/", Use.READ, MAX_STATES_PAGES, whole=False)
        names = {key: str(one.get("name") or "") for key, one in pages.items.items() if isinstance(one, dict)}
        self._labels[project.name] = _Labels(names, now)
        return names

    async def _all(
        self,
        path: str,
        use: Use,
        most: int,
        query: Mapping[str, str] | None = None,
        *,
        until: Callable[[list[Json]], bool] | None = None,
        whole: bool = True,
    ) -> _Pages:
        """Read a list to its end, or to the page that `until` says is the last one needed.

        More pages than `most` are left; where the list is to be `whole`, it is then not sound.
        """
        pages, cursor = _Pages(), ""
        for _ in range(most):
            asked = {"per_page": str(PER_PAGE), **(query or {}), **({"cursor": cursor} if cursor else {})}
            answer = await self._asked("GET", path, use, query=asked)
            _fine(answer, "listing")
            if isinstance(answer.body, list):  # some endpoints of older servers have no pages
                pages.items |= {identifier(one): one for one in answer.body}
                return pages
            page = pages.add(answer)
            body = answer.body if isinstance(answer.body, dict) else {}
            following = str(body.get("next_cursor") or "")
            if body.get("next_page_results") is not True or (until is not None and until(page)):
                return pages
            if not following or following == cursor:
                pages.sound = False
                return pages
            cursor = following
        pages.sound = pages.sound and not whole
        return pages

    async def _item(
        self, method: str, project: Project, wanted: str, use: Use, more: str = "", *, body: Json = None
    ) -> Answer:
        return await self._asked(method, f"{_place(project)}/{{noun}}/{segment(wanted)}/{more}", use, body=body)

    async def _asked(
        self, method: str, path: str, use: Use, *, query: Mapping[str, str] | None = None, body: Json = None
    ) -> Answer:
        """Ask under the name that this server has for work items; which one it is, the first answers tell."""
        open_ = "{noun}" in path and not self._noun
        place = path.replace("{noun}", self._noun or NEW)
        answer = await self._api.ask(method, place, use=use, query=query, body=body, may_lack=open_)
        if not open_:
            return answer
        if answer.status != NOT_FOUND:
            self._noun = NEW
            return answer
        older = await self._api.ask(method, path.replace("{noun}", OLD), use=use, query=query, body=body)
        if answer.foreign:  # maybe a proxy's word, from which nothing is learnt for later
            _fine(older, "reading it under its older name")
        elif older.status != NOT_FOUND:
            self._noun = OLD
        return older


@dataclass(frozen=True, slots=True)
class _OlderThan:
    """Whether a page, newest change first, ends behind a time."""

    since: float

    def __call__(self, page: list[Json]) -> bool:
        last = issue(page[-1], "", {}) if page else None
        return last is not None and last.updated_at <= self.since


def _place(project: Project) -> str:
    return segment(project.tracker_project or project.name)


def _fine(answer: Answer, doing: str) -> None:
    """Raise for an answer that says no where nothing else is known of it."""
    if answer.ok:
        return
    detail = f": {answer.said}" if answer.said else ""
    raise TrackerFailed(
        f"Plane answered {answer.status} on {doing}{detail}", after_s=60.0 if answer.status == NOT_FOUND else None
    )
