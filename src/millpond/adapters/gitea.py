"""Gitea and Forgejo as a `millpond.delivery.ports.Forge` (their API ``/api/v1``).

What it takes to read them rightly:
- A commit without statuses answers 200 with no body. That is no status, and not green.
- Whether branches conflict is told of pull requests only, so one is opened as soon as a branch has something of its
  own. ``mergeable`` is also false while it is being found out: a no counts once it has stood for a while.
- A merged pull request shows the commit that its branch is at *now*: what was merged is asked of the base branch.
- A merge carries the commit that was judged (``head_commit_id``). 405 is many things, "try again later" among them,
  which is also said of conflicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from millpond.adapters import giteahooks
from millpond.adapters.giteacontents import read_contents
from millpond.adapters.httpjson import Answer, ApiOptions, JsonApi, Large, in_a_thread, segment
from millpond.clock import Clock
from millpond.delivery.frontmatter import fields
from millpond.delivery.model import Evidence, Hint, Json, Project
from millpond.delivery.ports import Change, ForgeFailed, Merge
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Use
from millpond.delivery.workspaces.gitargs import check_branch, check_repo, check_sha

PER_PAGE = 50
SMALL_PAGE = 10
"""No server's pages are smaller: a shorter one is the last."""
MAX_PAGES = 20
MAX_PATHS = 50
MAX_FILE = 64 << 10
MAX_TITLE = 255
SETTLE_S = 120.0
"""How long ``mergeable`` must have been false before it is believed."""
MAX_REMEMBERED = 1000
LATER_S = 60.0
NOT_FOUND, NOT_ALLOWED, CONFLICT, UNPROCESSABLE, LOCKED = 404, 405, 409, 422, 423


@dataclass(frozen=True, slots=True)
class GiteaOptions:
    """Where a Gitea is, and who we are there; `webhook_secret` empty: no webhook is taken."""

    url: str
    token: str = field(repr=False)
    webhook_secret: str = field(default="", repr=False)
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Pull:
    """A pull request; `base` is the commit that its target is at."""

    number: int
    branch: str
    head: str
    base: str
    target: str
    open: bool
    merged: bool
    mergeable: bool
    own: bool
    """Whether its branch is in the repository itself, and not in somebody's fork."""
    url: str


class Gitea:
    """The repositories of one server."""

    def __init__(
        self, options: GiteaOptions, clock: Clock, *, budget: RateBudget | None = None, large: Large = in_a_thread
    ) -> None:
        self._secret, self._clock = options.webhook_secret.encode(), clock
        headers = {"Authorization": f"token {options.token}"}
        base = f"{options.url.rstrip('/')}/api/v1/repos"
        api = ApiOptions("Gitea", base, headers, timeout_s=options.timeout_s)
        self._api = JsonApi(api, ForgeFailed, now=clock.now, budget=budget, large=large)
        self._refused: dict[tuple[str, int, str, str], float] = {}

    @property
    def budget(self) -> RateBudget | None:
        """The rate budget that its requests draw from."""
        return self._api.budget

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify a webhook and say where to look."""
        return giteahooks.read(self._secret, headers, body)

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def observe(
        self, project: Project, branch: str, paths: Sequence[str], *, peek: bool = False
    ) -> Sequence[Evidence]:
        """Tell what is known of a branch. One that can be merged gets its pull request by that, unless it is a peek."""
        sha, base = await self._head(project, branch), await self._head(project, project.branch)
        if not sha:
            return []
        told: list[tuple[str, dict[str, Json]]] = [("head", {})]
        statuses = await self._statuses(project, sha)
        if statuses is not None:
            told.append(("statuses", {"statuses": statuses}))
        if base and branch != project.branch:
            contained = await self._within(project, base, sha)
            told.append(("base", {"contained": contained}))
            told += await self._mergeable(project, branch, (sha, base), contained=contained, peek=peek)
        for path in paths[:MAX_PATHS]:
            told += await self._file(project, sha, path)
        now = self._clock.now()
        return [Evidence(kind, facts, sha, now, source="gitea") for kind, facts in told]

    async def open_change(self, project: Project, branch: str, title: str) -> Change:
        """Open the pull request of a branch, or find it: the open one, else the one by which its commit was merged."""
        sha = await self._head(project, branch)
        if not sha:
            raise ForgeFailed(f"{project.repo} has no branch {branch}: push it", permanent=True)
        found = await self._pull(project, branch)
        if found is not None and (found.open or await self._within(project, sha, project.branch)):
            return Change(found.number, sha, found.url)
        made = await self._open(project, branch, title)
        if made is None:
            text = f"{branch} has nothing that {project.branch} lacks, or Gitea refuses a pull request for it"
            raise ForgeFailed(text, permanent=True)
        return Change(made.number, made.head, made.url)

    async def merge(self, project: Project, number: int, sha: str) -> Merge:
        """Merge a pull request if its head is `sha`."""
        checked(check_sha, sha)
        pull = await self._read_pull(project, number)
        if pull.merged:
            return Merge.MERGED if await self.contains(project, pull.target, sha) else Merge.MOVED
        if not pull.open:
            return Merge.REFUSED
        if pull.head != sha:
            return Merge.MOVED
        body: dict[str, Json] = {"Do": "merge", "head_commit_id": sha, "delete_branch_after_merge": False}
        answer = await self._ask("POST", project, f"pulls/{number}/merge", Use.WRITE, body=body)
        return Merge.MERGED if answer.status == 200 else await self._unmerged(project, answer, pull, sha)  # noqa: PLR2004

    async def contains(self, project: Project, branch: str, sha: str) -> bool:
        """Say whether a commit is on a branch."""
        checked(check_sha, sha)
        return bool(await self._head(project, branch)) and await self._within(project, sha, branch)

    async def follows(self, project: Project, later: str, earlier: str) -> bool:
        """Say whether a commit has another one in its history; not where one of them is not there."""
        for sha in (later, earlier):
            checked(check_sha, sha)
        return await self._there(project, later) and await self._within(project, earlier, later)

    async def _unmerged(self, project: Project, answer: Answer, before: _Pull, sha: str) -> Merge:
        """Say why a pull request was not merged: by the answer's code, and by how it stands now."""
        if answer.ok:  # scheduled: something is still awaited
            return Merge.LATER
        if answer.status not in {NOT_FOUND, NOT_ALLOWED, CONFLICT, LOCKED, UNPROCESSABLE}:
            raise _failed(answer, "merging")
        pull = await self._read_pull(project, before.number)
        if pull.merged:
            return Merge.MERGED if await self.contains(project, pull.target, sha) else Merge.MOVED
        if pull.open and (pull.head != sha or "out of date" in answer.said.casefold()):
            return Merge.MOVED
        if answer.status == CONFLICT:
            return Merge.CONFLICT
        if answer.status == NOT_ALLOWED and "try again" in answer.said.casefold():
            return Merge.CONFLICT if self._settled(project, pull) else Merge.LATER
        return Merge.REFUSED

    async def _mergeable(
        self, project: Project, branch: str, commits: tuple[str, str], *, contained: bool, peek: bool
    ) -> list[tuple[str, dict[str, Json]]]:
        """Tell of conflicts; nothing while it is not known."""
        if contained:  # it has all of its base
            return [("mergeable", {"mergeable": True})]
        found = await self._pull(project, branch)
        if found is not None and not found.open:
            found = None
        pull = found if found or peek else await self._open(project, branch, branch)
        if pull is None or (pull.head, pull.base) != commits:
            return []
        if pull.mergeable:
            self._refused.pop(_key(project, pull), None)
            return [("mergeable", {"mergeable": True})]
        detail = f"with {project.branch} at {pull.base[:12]} (pull request {pull.number})"
        return [("mergeable", {"mergeable": False, "detail": detail})] if self._settled(project, pull) else []

    def _settled(self, project: Project, pull: _Pull) -> bool:
        """Whether a pull request has been unmergeable for so long that nobody is still finding out."""
        now = self._clock.monotonic()
        while len(self._refused) > MAX_REMEMBERED:
            del self._refused[next(iter(self._refused))]
        since = self._refused.setdefault(_key(project, pull), now)
        return not pull.mergeable and now - since >= SETTLE_S

    async def _head(self, project: Project, branch: str) -> str:
        """Give the commit that a branch is at; empty: there is no such branch in a repository that is there."""
        checked(check_branch, branch)
        answer = await self._ask("GET", project, f"branches/{_segments(branch)}", Use.READ)
        if answer.status == NOT_FOUND:
            repo = await self._ask("GET", project, "", Use.READ)
            if not repo.ok:
                text = f"Gitea has no repository {project.repo}, or the token may not see it"
                raise ForgeFailed(text, after_s=LATER_S)
            return ""
        commit = _object(_fine(answer, "reading a branch")).get("commit")
        sha = _object(commit).get("id")
        return checked(check_sha, str(sha))

    async def _statuses(self, project: Project, sha: str) -> dict[str, Json] | None:
        """Give a commit's statuses, state by context; None: there are more than can be read."""
        found: dict[str, Json] = {}
        first = SMALL_PAGE
        for page in range(1, MAX_PAGES + 1):
            query = {"page": str(page), "limit": str(PER_PAGE)}
            answer = await self._ask("GET", project, f"commits/{sha}/status", Use.READ, query=query)
            body = _fine(answer, "reading statuses")
            rows = _object(body).get("statuses")  # without statuses: no body, or an object without any
            told = rows if isinstance(rows, list) else []
            for one in told:  # newest first
                name, state = _object(one).get("context"), _object(one).get("status")
                found.setdefault(str(name or "unnamed"), str(state or "pending"))
            first = max(first, len(told))
            if len(told) < first:
                return found
        return None

    async def _within(self, project: Project, old: str, new: str) -> bool:
        """Whether the commit `old` is in the history of `new` (a commit or a branch)."""
        path = f"compare/{_segments(new)}...{segment(old)}"
        query = {"verification": "false", "files": "false"}
        answer = await self._ask("GET", project, path, Use.READ, query=query, may_cut=True, may_lack=True)
        if answer.cut:  # so many commits are missing
            return False
        if answer.status == NOT_FOUND:
            if not await self._there(project, old):
                return False
            raise ForgeFailed(f"Gitea can't compare {old[:12]} with {new[:80]}: version 1.22 can", after_s=LATER_S)
        missing = _object(_fine(answer, "comparing commits")).get("total_commits")
        return missing == 0

    async def _there(self, project: Project, sha: str) -> bool:
        """Whether there is such a commit: Gitea itself has to say that there is none."""
        query = {"verification": "false", "files": "false"}
        answer = await self._ask("GET", project, f"git/commits/{segment(sha)}", Use.READ, query=query)
        return answer.status != NOT_FOUND and bool(_fine(answer, "reading a commit"))

    async def _file(self, project: Project, sha: str, path: str) -> list[tuple[str, dict[str, Json]]]:
        """Tell whether a file is in a commit, and what its front matter says."""
        try:
            found = await read_contents(self._api, checked(check_repo, project.repo), sha, path, MAX_FILE)
        except ValueError:
            found = None
        told: list[tuple[str, dict[str, Json]]] = [("file", {"path": path, "present": found is not None})]
        if found is not None and found.raw is not None:
            words = fields(found.raw.decode("utf-8", "replace"))
            told += [("front-matter", {"path": path, "fields": cast("Json", words)})] if words else []
        return told

    async def _pull(self, project: Project, branch: str) -> _Pull | None:
        """Find the pull request of a branch: the open one, else some earlier one.

        Asked by its two ends Gitea gives any of them, the oldest as a rule.
        """
        path = f"pulls/{segment(project.branch)}/{_segments(branch)}"
        answer = await self._ask("GET", project, path, Use.READ)
        if answer.status == NOT_FOUND:
            return None
        some = _pull_of(_fine(answer, "reading a pull request"))
        return some if some.open else await self._open_pull(project, branch) or some

    async def _open_pull(self, project: Project, branch: str) -> _Pull | None:
        first = SMALL_PAGE
        for page in range(1, MAX_PAGES + 1):
            query = {"state": "open", "sort": "recentupdate", "page": str(page), "limit": str(PER_PAGE)}
            rows = _fine(await self._ask("GET", project, "pulls", Use.READ, query=query), "listing pull requests")
            told = rows if isinstance(rows, list) else []
            pulls = (_pull_of(one) for one in told)
            ends = (branch, project.branch)
            found = next((one for one in pulls if one.own and (one.branch, one.target) == ends), None)
            first = max(first, len(told))
            if found is not None or len(told) < first:
                return found
        return None

    async def _open(self, project: Project, branch: str, title: str) -> _Pull | None:
        """Open a pull request; None: there is nothing to merge."""
        body: dict[str, Json] = {"base": project.branch, "head": branch, "title": " ".join(title.split())[:MAX_TITLE]}
        answer = await self._ask("POST", project, "pulls", Use.WRITE, body=body)
        if answer.status == CONFLICT:  # somebody was first
            return await self._open_pull(project, branch)
        if answer.status in {NOT_FOUND, UNPROCESSABLE}:
            return None
        return _pull_of(_fine(answer, "opening a pull request"))

    async def _read_pull(self, project: Project, number: int) -> _Pull:
        answer = await self._ask("GET", project, f"pulls/{number}", Use.READ)
        if answer.status == NOT_FOUND:
            raise ForgeFailed(f"{project.repo} has no pull request {number}", permanent=True)
        return _pull_of(_fine(answer, "reading a pull request"))

    async def _ask(
        self,
        method: str,
        project: Project,
        path: str,
        use: Use,
        *,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        may_cut: bool = False,
        may_lack: bool = False,
    ) -> Answer:
        repo = checked(check_repo, project.repo)
        place = f"{repo}/{path}" if path else repo
        return await self._api.ask(method, place, use=use, query=query, body=body, may_cut=may_cut, may_lack=may_lack)


def _key(project: Project, pull: _Pull) -> tuple[str, int, str, str]:
    return project.repo, pull.number, pull.head, pull.base


def _pull_of(value: Json) -> _Pull:
    """Read a pull request. Raises `ForgeFailed`."""
    row = _object(value)
    head, base, number = _object(row.get("head")), _object(row.get("base")), row.get("number")
    if not isinstance(number, int):
        raise ForgeFailed("Gitea's pull request can't be read")
    return _Pull(
        number=number,
        branch=str(head.get("ref") or ""),
        head=str(head.get("sha") or ""),
        base=str(base.get("sha") or ""),
        target=str(base.get("ref") or ""),
        open=row.get("state") == "open",
        merged=row.get("merged") is True,
        mergeable=row.get("mergeable") is True,
        own=head.get("repo_id") == base.get("repo_id"),
        url=str(row.get("html_url") or ""),
    )


def _segments(path: str) -> str:
    """Quote a path that Gitea takes with its slashes."""
    return "/".join(segment(part) for part in path.split("/"))


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def checked(check: Callable[[str], str], value: str) -> str:
    """Check a name. Raises `ForgeFailed`: it would be wrong again."""
    try:
        return check(value)
    except ValueError as error:
        raise ForgeFailed(str(error), permanent=True) from error


def _fine(answer: Answer, doing: str) -> Json:
    """Give an answer's body where it says yes. Raises `ForgeFailed`."""
    if not answer.ok:
        raise _failed(answer, doing)
    return answer.body


def _failed(answer: Answer, doing: str) -> ForgeFailed:
    detail = f": {answer.said}" if answer.said else ""
    return ForgeFailed(f"Gitea answered {answer.status} on {doing}{detail}", after_s=LATER_S)
