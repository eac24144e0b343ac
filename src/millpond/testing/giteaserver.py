"""A Gitea that is a real HTTP server on loopback, with its ways: a history of commits in memory, and the API over it.

- Webhooks are signed and sent once: what fails is lost.
- A commit without statuses answers 200 with an empty body.
- A merge answers 405 "Please try again later" while it is being found out whether it conflicts (`checking`), and for
  conflicts too; 409 where ``head_commit_id`` is not the head any more.
- A merged pull request shows where its branch is now; asked for by its ends, the oldest one is given.

`push` is what a person does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from millpond.testing.wire import Fails, WireServer, told

TOKEN = "gitea-5e7f"  # noqa: S105 - no secret: the fake's own
MISSING = {"message": "The target couldn't be found.", "errors": None}
TRY_AGAIN = "Please try again later"
Row = dict[str, Any]


@dataclass
class Repo:
    """A repository: commits with their parents and files, branches, statuses, pull requests."""

    name: str
    branches: dict[str, str] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: dict[str, list[Row]] = field(default_factory=dict)
    pulls: list[Row] = field(default_factory=list)

    def commit(self, parents: tuple[str, ...], files: Mapping[str, str]) -> str:
        """Make a commit."""
        made = json.dumps([self.name, len(self.parents), parents, sorted(files.items())])
        sha = hashlib.sha1(made.encode(), usedforsecurity=False).hexdigest()
        self.parents[sha], self.files[sha] = parents, dict(files)
        return sha

    def history(self, sha: str) -> set[str]:
        """Give a commit with all that came before it."""
        seen, ahead = set[str](), [sha]
        while ahead:
            one = ahead.pop()
            if one and one not in seen:
                seen.add(one)
                ahead += self.parents[one]
        return seen

    def merged(self, base: str, head: str) -> dict[str, str] | None:
        """Merge two commits' files; None: both changed one of them."""
        common = self.history(base) & self.history(head)
        start = next((sha for sha in reversed(self.parents) if sha in common), "")
        old, ours, theirs = self.files.get(start, {}), self.files[base], self.files[head]
        names = old.keys() | ours.keys() | theirs.keys()
        both = (n for n in names if ours.get(n) != old.get(n) and theirs.get(n) != old.get(n))
        if any(ours.get(name) != theirs.get(name) for name in both):
            return None
        changed = {n: theirs.get(n) if theirs.get(n) != old.get(n) else ours.get(n) for n in names}
        return {name: text for name, text in changed.items() if text is not None}

    def resolve(self, name: str) -> str:
        """Give the commit that a branch or a commit's name is; empty: neither."""
        return self.branches.get(name) or (name if name in self.parents else "")


@dataclass
class GiteaServer(WireServer):
    """The server."""

    repos: dict[str, Repo] = field(default_factory=dict)
    checking: int = 0
    """For how many more questions a pull request is still being checked."""
    form: bool = False
    """Whether webhooks are forms."""
    refusing: str = ""
    """Why merges are not allowed (a branch's protection)."""
    page_size: int = 50

    def repo(self, name: str) -> Repo:
        """Make a repository with one commit on main."""
        made = self.repos[name] = Repo(name)
        made.branches["main"] = made.commit((), {"README.md": "hello"})
        return made

    def push(self, repo: str, branch: str, start: str = "", *, force: bool = False, **files: str) -> str:
        """Commit files on a branch (new ones begin at `start`, else main), and tell. ``__`` in names is a slash."""
        mine = self.repos[repo]
        parent = mine.branches.get(branch, "") if not force else ""
        parent = parent or mine.resolve(start or "main")
        content = {name.replace("__", "/"): text for name, text in files.items()}
        sha = mine.commit((parent,), {**mine.files[parent], **content})
        before, mine.branches[branch] = mine.branches.get(branch, "0" * 40), sha
        self.tell("push", repo, {"ref": f"refs/heads/{branch}", "before": before, "after": sha, "commits": []})
        return sha

    def status(self, repo: str, sha: str, context: str, state: str) -> None:
        """Report a status."""
        rows = self.repos[repo].statuses.setdefault(sha, [])
        rows[:] = [one for one in rows if one["context"] != context]
        rows.insert(0, {"id": len(rows) + 1, "status": state, "context": context, "description": "", "target_url": ""})
        self.tell("status", repo, {"sha": sha, "state": state, "context": context})

    def tell(self, event: str, repo: str, body: Row) -> None:
        """Send a webhook."""
        raw = json.dumps({**body, "repository": {"full_name": repo, "id": 1}}).encode()
        signature = hmac.new(self.hook_secret.encode(), raw, hashlib.sha256).hexdigest() if self.hook_secret else ""
        headers = {
            "X-Gitea-Delivery": str(uuid.uuid4()),
            "X-Gitea-Event": event,
            "X-Gitea-Event-Type": event,
            "X-Gitea-Signature": signature,
            "X-Hub-Signature-256": f"sha256={signature}",
            "Content-Type": "application/x-www-form-urlencoded" if self.form else "application/json",
        }
        self.deliver(headers, urlencode({"payload": raw.decode()}).encode() if self.form else raw)

    def routes(self) -> list[web.RouteDef]:
        """Give what it answers to."""
        base = "/api/v1/repos/{owner}/{name}"
        return [
            web.get(base, self._repo),
            web.get(f"{base}/branches/{{branch:.+}}", self._branch),
            web.get(f"{base}/commits/{{sha}}/status", self._combined),
            web.get(f"{base}/git/commits/{{sha}}", self._commit),
            web.post(f"{base}/statuses/{{sha}}", self._report),
            web.get(f"{base}/compare/{{ends:.+}}", self._compare),
            web.get(f"{base}/contents/{{path:.+}}", self._contents),
            web.get(f"{base}/pulls", self._pulls),
            web.post(f"{base}/pulls", self._open),
            web.get(f"{base}/pulls/{{number:[0-9]+}}", self._pull),
            web.post(f"{base}/pulls/{{number:[0-9]+}}/merge", self._merge),
            web.get(f"{base}/pulls/{{base}}/{{head:.+}}", self._between),
        ]

    def allowed(self, request: web.Request) -> web.Response | None:
        """Ask for the token, then for a repository that is there."""
        if request.headers.get("Authorization") != f"token {TOKEN}":
            return web.json_response({"message": "token is required"}, status=401)
        info = request.match_info
        return None if f"{info.get('owner')}/{info.get('name')}" in self.repos else _missing()

    async def _repo(self, request: web.Request) -> web.Response:
        return web.json_response({"id": 1, "full_name": self._of(request).name})

    async def _branch(self, request: web.Request) -> web.Response:
        sha = self._of(request).branches.get(request.match_info["branch"])
        return web.json_response({"name": request.match_info["branch"], "commit": {"id": sha}}) if sha else _missing()

    async def _commit(self, request: web.Request) -> web.Response:
        sha = request.match_info["sha"]
        return web.json_response({"sha": sha}) if sha in self._of(request).parents else _missing()

    async def _combined(self, request: web.Request) -> web.Response:
        rows = self._page(request, self._of(request).statuses.get(request.match_info["sha"], []))
        if not rows:
            return web.Response()
        states = {one["status"] for one in rows}
        good = states <= {"success", "warning", "skipped"}
        state = "failure" if states & {"error", "failure"} else "success" if good else "pending"
        return web.json_response({"state": state, "statuses": rows, "total_count": len(rows)})

    async def _report(self, request: web.Request) -> web.Response:
        body = await told(request)
        self.status(self._of(request).name, request.match_info["sha"], body["context"], body["state"])
        return web.json_response(self._of(request).statuses[request.match_info["sha"]][0], status=201)

    async def _compare(self, request: web.Request) -> web.Response:
        repo, (base, _, head) = self._of(request), request.match_info["ends"].partition("...")
        one, other = repo.resolve(base), repo.resolve(head)
        if not one or not other:
            return _missing()
        missing = repo.history(other) - repo.history(one)
        return web.json_response({"total_commits": len(missing), "commits": [{"sha": sha} for sha in missing]})

    async def _contents(self, request: web.Request) -> web.Response:
        repo, path = self._of(request), request.match_info["path"]
        files = repo.files.get(repo.resolve(request.query.get("ref", "main")), {})
        if any(name.startswith(f"{path}/") for name in files):
            return web.json_response([{"type": "file", "path": name} for name in files if name.startswith(f"{path}/")])
        if path not in files:
            return _missing()
        raw = files[path].encode()
        content = base64.b64encode(raw).decode()
        return web.json_response({"type": "file", "path": path, "size": len(raw), "content": content})

    async def _pulls(self, request: web.Request) -> web.Response:
        repo, state = self._of(request), request.query.get("state", "open")
        rows = [one for one in reversed(repo.pulls) if state in {"all", one["state"]}]
        return web.json_response([self._shown(repo, one) for one in self._page(request, rows)])

    async def _open(self, request: web.Request) -> web.Response:
        repo, body = self._of(request), await told(request)
        head, base = body["head"], body["base"]
        if head not in repo.branches or base not in repo.branches:
            return _missing()
        if repo.branches[head] in repo.history(repo.branches[base]):
            return web.json_response({"message": "There are no changes between the head and the base"}, status=422)
        if any((one["head"], one["base"], one["state"]) == (head, base, "open") for one in repo.pulls):
            text = f"pull request already exists for these targets [head: {head}, base: {base}]"
            return web.json_response({"message": text}, status=409)
        row = {"number": len(repo.pulls) + 1, "head": head, "base": base, "title": body["title"], "state": "open"}
        repo.pulls.append({**row, "merged": False})
        shown = self._shown(repo, repo.pulls[-1])
        self.tell("pull_request", repo.name, {"action": "opened", "number": row["number"], "pull_request": shown})
        return web.json_response(shown, status=201)

    async def _pull(self, request: web.Request) -> web.Response:
        row = self._row(request)
        return web.json_response(self._shown(self._of(request), row)) if row else _missing()

    async def _between(self, request: web.Request) -> web.Response:
        repo, ends = self._of(request), (request.match_info["base"], request.match_info["head"])
        row = next((one for one in repo.pulls if (one["base"], one["head"]) == ends), None)
        return web.json_response(self._shown(repo, row)) if row else _missing()

    async def _merge(self, request: web.Request) -> web.Response:
        repo, row, body = self._of(request), self._row(request), await told(request)
        if row is None or (row["state"] != "open" and not row["merged"]):
            return _missing()
        head, base = repo.branches.get(row["head"], ""), repo.branches[row["base"]]
        if row["merged"] or self.refusing:
            return web.json_response({"message": self.refusing}, status=405)
        files = repo.merged(base, head)
        if self._checks() or files is None:
            return web.json_response({"message": TRY_AGAIN}, status=405)
        if body.get("head_commit_id") not in {None, "", head}:
            return web.json_response({"message": "head out of date"}, status=409)
        repo.branches[row["base"]] = repo.commit((base, head), files)
        row.update(state="closed", merged=True)
        self.tell("push", repo.name, {"ref": f"refs/heads/{row['base']}", "after": repo.branches[row["base"]]})
        return web.Response()

    def _shown(self, repo: Repo, row: Row) -> Row:
        """Show a pull request as it stands now."""
        head, base = repo.branches.get(row["head"], ""), repo.branches[row["base"]]
        able = not self._checks() and bool(head) and repo.merged(base, head) is not None
        return {
            **row,
            "head": {"ref": row["head"], "sha": head, "repo_id": 1},
            "base": {"ref": row["base"], "sha": base, "repo_id": 1},
            "mergeable": able,
            "html_url": f"{self.url}/{repo.name}/pulls/{row['number']}",
        }

    def _checks(self) -> bool:
        self.checking = max(self.checking - 1, 0)
        return self.checking > 0

    def _page(self, request: web.Request, rows: list[Row]) -> list[Row]:
        size = min(int(request.query.get("limit", "30")), self.page_size)
        first = (int(request.query.get("page", "1")) - 1) * size
        return rows[first : first + size]

    def _of(self, request: web.Request) -> Repo:
        return self.repos[f"{request.match_info['owner']}/{request.match_info['name']}"]

    def _row(self, request: web.Request) -> Row | None:
        wanted = int(request.match_info["number"])
        return next((one for one in self._of(request).pulls if one["number"] == wanted), None)


def _missing() -> web.Response:
    return web.json_response(MISSING, status=404)


__all__ = ["TOKEN", "Fails", "GiteaServer", "Repo"]
