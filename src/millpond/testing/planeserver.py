"""A Plane that is a real HTTP server on loopback and answers as recorded ones do, quirks included.

- Lists know no filter by state or time, and go by offset: items repeat or are skipped while others change.
  ``next_cursor`` is never null.
- A webhook is sent once for each changed field, with a new delivery id at each attempt; any HTTP answer is success.
- `quietly` changes a state as the auto-close job does: no webhook, no new time stamp.
- `limit_per_minute` answers 429 with ``Retry-After``; `older` has no ``work-items`` yet.

`put`, `say`, `place` are what a person does in the browser.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from millpond.testing.wire import Answering, Fails, WireServer, told

KEY = "plane_api_5e7f"
WORKSPACE = "test-ws"
LIGHT = ("id", "name", "color", "group")
MAX_PER_PAGE = 1000
MISSING = {"error": "The requested resource does not exist."}
Row = dict[str, Any]
USER = "e868528f-797d-4b2e-b566-a149d53e3965"
TEAM = "ad2eef5d-33a0-45cc-abfb-2e6282b39aa9"
NO_PAIR = {"external_source": None, "external_id": None}
STATE: Row = {"description": "", "sequence": 1000.0, "is_triage": False, "default": False, "color": "#000", **NO_PAIR}
LABEL: Row = {"description": "", "sort_order": 65535.0, "parent": None, "color": "#000", **NO_PAIR}
ITEM: Row = {
    "type_id": None, "point": None, "description_html": "<p></p>", "description_binary": None, "priority": "none",
    "start_date": None, "target_date": None, "sort_order": 65535.0, "completed_at": None, "archived_at": None,
    "is_draft": False, "parent": None, "estimate_point": None, "type": None, "assignees": [], **NO_PAIR,
}  # fmt: skip
COMMENT: Row = {
    "attachments": [], "access": "INTERNAL", "edited_at": None, "actor": USER, "parent": None,
    "description": "f01cdc36-f851-4b8c-ba9a-70ac7d2e2912", **NO_PAIR,
}  # fmt: skip
PERSON: Row = {"first_name": "", "last_name": "", "email": "", "avatar": "", "avatar_url": None}
"""What rows have beside what the server itself understands."""


@dataclass
class PlaneServer(WireServer):
    """The server. Its time is a number that each change moves by a second."""

    limit_per_minute: int | None = None
    older: bool = False
    field_name: str = "state_id"
    """What a webhook calls a state that a person changed; through the API it is ``state``."""
    event_style: str = "old"
    now: float = 1_790_000_000.0
    projects: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=lambda: {USER: "ada"})
    """The members of each project: what they call themselves, by id."""
    asked: int = 0

    def project(self, name: str, columns: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Make a project with columns (name, group); gives their ids by name."""
        self.projects[name] = {"states": [], "labels": [], "items": [], "comments": []}
        return {text: self.column(name, text, group)["id"] for text, group in columns}

    def column(self, project: str, name: str, group: str) -> Row:
        """Add a column."""
        row = self._row(STATE, name=name, slug=name.lower().replace(" ", "-"), group=group, project=project)
        self.projects[project]["states"].append(row)
        return row

    def add(self, project: str, title: str, state: str, *, labels: Sequence[str] = (), tell: bool = True) -> Row:
        """Make a work item."""
        items = self.projects[project]["items"]
        row = self._row(ITEM, name=title, state=state, sequence_id=1 + len(items), project=project, labels=list(labels))
        items.append(row)
        if tell:
            self._tell("issue", "created", row, None)
        return row

    def place(self, project: str, item: str, state: str, **fields: Any) -> None:
        """Change an item as a person does; one webhook for each field."""
        self._change(self._find(project, item), {"state": state, **fields}, by_person=True)

    def quietly(self, project: str, item: str, state: str) -> None:
        """Change its state as the auto-close job does."""
        self._find(project, item)["state"] = state

    def say(self, project: str, item: str, text: str) -> Row:
        """Comment on an item as a person does."""
        return self._comment(project, item, {"comment_html": f"<p>{text}</p>"})

    def label(self, project: str, name: str) -> str:
        """Make a label."""
        row = self._row(LABEL, name=name, project=project)
        self.projects[project]["labels"].append(row)
        return str(row["id"])

    def routes(self) -> list[web.RouteDef]:
        """Give what it answers to."""
        base = f"/api/v1/workspaces/{WORKSPACE}/projects/{{project}}"
        made = [
            web.get(f"{base}/states/", self._states),
            web.post(f"{base}/states/", self._new_state),
            web.get(f"{base}/labels/", self._labels),
            web.post(f"{base}/labels/", self._new_label),
            web.get(f"{base}/members/", self._members),
        ]
        for noun in ("issues",) if self.older else ("work-items", "issues"):
            item = f"{base}/{noun}/{{item}}/"
            made += [
                web.get(f"{base}/{noun}/", self._items),
                web.post(f"{base}/{noun}/", self._create),
                web.get(item, self._one),
                web.patch(item, self._patch),
                web.delete(item, self._delete),
                web.get(f"{item}comments/", self._comments),
                web.post(f"{item}comments/", self._say),
            ]
        return made

    def attempts(self) -> int:
        """Try connection errors again."""
        return 5

    def again(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Make a new delivery id."""
        return {**headers, "X-Plane-Delivery": str(uuid.uuid4())}

    def allowed(self, request: web.Request) -> web.Response | None:
        """Ask for the key, then count."""
        key = request.headers.get("X-Api-Key", "")
        if not key:
            return web.json_response({"detail": "Authentication credentials were not provided."}, status=401)
        if key != KEY:
            return web.json_response({"detail": "Given API token is not valid"}, status=403)
        self.asked += 1
        if self.limit_per_minute is not None and self.asked > self.limit_per_minute:
            return self.too_many("21")
        if request.match_info.get("project", "") not in self.projects:
            return web.json_response(MISSING, status=404)
        return None

    def too_many(self, retry_after: str | None) -> web.Response:
        """Answer as Plane's throttle does."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        body = {"error_code": 5900, "error_message": "RATE_LIMIT_EXCEEDED"}
        return web.json_response(body, status=429, headers=headers)

    async def answered(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Answer, and say what is left of the rate; the reset is always a minute ahead."""
        reply = await super().answered(request, handler)
        left = 60 if self.limit_per_minute is None else max(self.limit_per_minute - self.asked, 0)
        reply.headers.update({"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(int(self.now) + 60)})
        return reply

    async def _states(self, request: web.Request) -> web.Response:
        return self._page(request, self._of(request)["states"])

    async def _new_state(self, request: web.Request) -> web.Response:
        body = await told(request)
        same = next((one for one in self._of(request)["states"] if one["name"] == body["name"]), None)
        if same is not None:
            text = "State with the same name already exists in the project"
            return web.json_response({"error": text, "id": same["id"]}, status=409)
        return self._reply(self.column(request.match_info["project"], body["name"], body["group"]), 200)

    async def _new_label(self, request: web.Request) -> web.Response:
        made = self.label(request.match_info["project"], (await told(request))["name"])
        return self._reply(next(one for one in self._of(request)["labels"] if one["id"] == made), 201)

    async def _labels(self, request: web.Request) -> web.Response:
        return self._page(request, self._of(request)["labels"])

    async def _members(self, _: web.Request) -> web.Response:
        named = self.people.items()
        return self._reply([{**PERSON, "id": one, "display_name": name} for one, name in named], 200)

    async def _items(self, request: web.Request) -> web.Response:
        rows = [one for one in self._of(request)["items"] if not one["archived_at"]]
        order = request.query.get("order_by", "-created_at")
        rows.sort(key=lambda one: one[order.lstrip("-")], reverse=order.startswith("-"))
        return self._page(request, rows)

    async def _create(self, request: web.Request) -> web.Response:
        body, project = await told(request), request.match_info["project"]
        first = self.projects[project]["states"][0]["id"]
        row = self.add(project, str(body.get("name")), str(body.get("state") or first))
        return self._reply(row, 201)

    async def _one(self, request: web.Request) -> web.Response:
        row = self._row_of(request)
        return self._reply(row and self._shown(request, row), 200 if row else 404)

    async def _patch(self, request: web.Request) -> web.Response:
        row, body = self._row_of(request), await told(request)
        if row is None:
            return self._reply(None, 404)
        known = {one["id"] for one in self._of(request)["states"]}
        if "state" in body and body["state"] not in known:
            text = f'Invalid pk "{body["state"]}" - object does not exist.'
            return web.json_response({"state": [text]}, status=400)
        self._change(row, body, by_person=False)
        return self._reply(row, 200)

    async def _delete(self, request: web.Request) -> web.Response:
        row = self._row_of(request)
        if row is None:
            return self._reply(None, 404)
        self._of(request)["items"].remove(row)  # and no webhook
        return web.Response(status=204)

    async def _comments(self, request: web.Request) -> web.Response:
        if self._row_of(request) is None:
            return self._reply(None, 404)
        mine = [one for one in self._of(request)["comments"] if one["issue"] == request.match_info["item"]]
        return self._page(request, sorted(mine, key=lambda one: one["created_at"], reverse=True))

    async def _say(self, request: web.Request) -> web.Response:
        if self._row_of(request) is None:
            return self._reply(None, 404)
        body = await told(request)
        pair = (body.get("external_source"), body.get("external_id"))
        for one in self._of(request)["comments"]:
            mine = one["issue"] == request.match_info["item"]
            if all(pair) and mine and (one["external_source"], one["external_id"]) == pair:
                text = "Work item comment with the same external id and external source already exists"
                return web.json_response({"error": text, "id": one["id"]}, status=409)
        return self._reply(self._comment(request.match_info["project"], request.match_info["item"], body), 201)

    def _comment(self, project: str, item: str, body: Mapping[str, Any]) -> Row:
        known = {name: body.get(name) for name in ("external_source", "external_id")}
        text = str(body.get("comment_html", ""))
        row = self._row(COMMENT, comment_html=text, issue=item, project=project, **known)
        self.projects[project]["comments"].append(row)
        self._tell("issue_comment", "created", row, None)
        return row

    def _change(self, row: Row, fields: Mapping[str, Any], *, by_person: bool) -> None:
        changed = {name: value for name, value in fields.items() if row.get(name) != value}
        old = {name: row.get(name) for name in changed}
        row.update(changed)
        row["updated_at"] = self._time()
        for name, value in changed.items():
            called = self.field_name if name == "state" and by_person else name
            self._tell("issue", "updated", row, {"field": called, "old_value": old[name], "new_value": value})

    def _tell(self, event: str, action: str, row: Row, activity: Row | None) -> None:
        """Send a webhook: the item as it is now, with its state spelled out."""
        data = {**row, "state": self._light(row["project"], row["state"])} if "state" in row else row
        name = event if self.event_style == "old" else f"{event.replace('issue', 'workitem')}.{action}"
        nothing: Row = {"field": None, "old_value": None, "new_value": None}
        body = {"event": name, "action": action, "webhook_id": "c69bdbb8", "workspace_id": "ad2eef5d", "data": data}
        if self.event_style != "old":
            body["event_id"] = str(uuid.uuid4())
        raw = json.dumps({**body, "activity": activity or nothing}).encode()
        headers = {
            "User-Agent": "Autopilot",
            "Content-Type": "application/json",
            "X-Plane-Delivery": str(uuid.uuid4()),
            "X-Plane-Event": name,
            "X-Plane-Signature": hmac.new(self.hook_secret.encode(), raw, hashlib.sha256).hexdigest(),
        }
        self.deliver(headers, raw)

    def _page(self, request: web.Request, rows: Sequence[Row]) -> web.Response:
        """Answer with a page by offset; its cursor is ``size:page:is_prev``."""
        size = int(request.query.get("per_page", MAX_PER_PAGE))
        if size > MAX_PER_PAGE:
            return web.json_response({"detail": f"Invalid per_page value. Cannot exceed {MAX_PER_PAGE}."}, status=400)
        number = int(request.query.get("cursor", f"{size}:0:0").split(":")[1])
        page = rows[number * size : (number + 1) * size]
        pages = -(-len(rows) // size)
        body = {
            "grouped_by": None, "sub_grouped_by": None, "total_count": len(rows),
            "next_cursor": f"{size}:{number + 1}:0", "prev_cursor": f"{size}:{number - 1}:1",
            "next_page_results": number + 1 < pages, "prev_page_results": number > 0,
            "count": len(page), "total_pages": pages, "total_results": len(rows), "extra_stats": None,
            "results": [self._shown(request, one) for one in page],
        }  # fmt: skip
        return self._reply(body, 200)

    def _shown(self, request: web.Request, row: Row) -> Row:
        """Show a row with what ``expand`` and ``fields`` ask for."""
        shown = dict(row)
        if "state" in request.query.get("expand", "").split(",") and "state" in row:
            shown["state"] = self._light(row["project"], row["state"])
        names = [name for name in request.query.get("fields", "").split(",") if name]
        return {name: value for name, value in shown.items() if not names or name in names}

    def _reply(self, body: Any, status: int) -> web.Response:
        return web.json_response(MISSING if body is None else body, status=status)

    def _light(self, project: str, state: str) -> Row:
        row = next((one for one in self.projects[project]["states"] if one["id"] == state), None)
        return {name: row[name] for name in LIGHT} if row else {"id": state}

    def _of(self, request: web.Request) -> dict[str, list[Row]]:
        return self.projects[request.match_info["project"]]

    def _row_of(self, request: web.Request) -> Row | None:
        wanted = request.match_info["item"]
        return next((one for one in self._of(request)["items"] if one["id"] == wanted), None)

    def _find(self, project: str, item: str) -> Row:
        return next(one for one in self.projects[project]["items"] if one["id"] == item)

    def _row(self, kind: Row, **values: Any) -> Row:
        at = self._time()
        made = {"id": str(uuid.uuid4()), "created_at": at, "updated_at": at, "deleted_at": None, "workspace": TEAM}
        return {**made, "created_by": USER, "updated_by": None, **kind, **values}

    def _time(self) -> str:
        self.now += 1.0
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


__all__ = ["KEY", "WORKSPACE", "Fails", "PlaneServer"]
