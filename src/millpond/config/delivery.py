"""The tables of the delivery: `[delivery]`, `[tracker]`, `[forge]`, `[projects.NAME]`.

`[pipeline]` is read by `delivery.definition`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from millpond.config import fields as f
from millpond.config.table import Table, about
from millpond.delivery.naming import check_prefix

_MAX_TEXT = 200


def _plain(value: str) -> str:
    if len(value) > _MAX_TEXT or any(not char.isprintable() or char.isspace() for char in value):
        raise ValueError(f"white space and control characters are not allowed, nor more than {_MAX_TEXT} characters")
    return value


def _branch(value: str) -> str:
    if not value or value.startswith(("-", "/", ".")) or ".." in value or set(value) & set("~^:?*[\\"):
        raise ValueError('not a branch; write its name, such as "main"')
    return _plain(value)


def _repo(value: str) -> str:
    parts = value.removeprefix("/").split("/") if value else []
    if any(part in {"", ".", ".."} or part.startswith("-") for part in parts):
        raise ValueError('not a repository; write its name, such as "team/shop", or the path of a bare one')
    return _plain(value)


Word = Annotated[str, AfterValidator(_plain)]


class DeliveryConfig(Table):
    """How issues are taken to production; each background part has its switch."""

    enabled: bool = about(default=True, description="false switches all of it off.")
    poll_interval_s: f.Seconds = about(60, "How often the board is asked what no webhook told.")
    reconcile_grace_s: f.SecondsOrZero = about(120, "How long what a poll finds waits for the issue to rest.")
    sweep_interval_s: f.Seconds = about(3600, "How often a poll lists everything, whatever is said to have changed.")
    max_concurrency: Annotated[int, Field(ge=1, le=64)] = about(2, "Jobs that run at a time; one of a repo.")
    lease_s: Annotated[float, Field(ge=1, le=3600)] = about(60, "How long work is kept without a sign of life.")
    keep_days: Annotated[int, Field(ge=1, le=36_500)] = about(90, "How long what ended is remembered, logs too.")
    reconcile: bool = about(default=True, description="Poll the board.")
    looks: bool = about(default=True, description="Look at issues and decide; false: nothing goes on.")
    worker: bool = about(default=True, description="Run jobs.")
    reaper: bool = about(default=True, description="Give up jobs whose worker died.")
    outbox: bool = about(default=True, description="Write to the board.")
    webhooks: bool = about(default=True, description="Take webhooks; false: they are answered 503.")
    resilience: bool = about(default=True, description="Pause new jobs after many failures that may pass.")
    merge_verify: bool = about(default=True, description="After a merge, see that the commit is on the branch.")
    post_deploy: bool = about(default=True, description="Watch what was deployed; false: monitor stages are skipped.")
    auto_labels: bool = about(default=True, description="An issue's labels set options of its task.")
    task_deps: bool = about(default=True, description="A task waits for those that it depends on.")
    upkeep: bool = about(default=True, description="Remove what is older than keep_days.")
    metrics: bool = about(default=True, description="Count for the metrics what waits, runs and was spent.")
    environment: Mapping[str, f.Secret] = Field(
        default_factory=dict, description="Variables that stages may pass to what they run, such as an agent's key."
    )
    circuit_failures: f.Count = about(5, "After so many failures in a row that may pass new jobs pause ...")
    circuit_open_s: f.Seconds = about(60, "... for this long at first, then one tries ...")
    circuit_max_open_s: f.Seconds = about(1800, "... and at most for this long.")


class TrackerConfig(Table):
    """The issue board."""

    kind: Literal["local", "plane"] = about("local", "local: the embedded board; plane.")
    url: f.PublicUrl = about("", "plane: its address.")
    workspace: Word = about("", "plane: the workspace's slug.")
    token: f.Secret | None = about(None, "plane: an API key.")
    webhook_secret: f.Secret | None = about(None, "The secret that webhooks are signed with; unset: none is taken.")
    states_ttl_s: f.SecondsOrZero = about(300, "How long a board's columns are remembered; 0: until a reload.")
    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] = about(50, "How often it may be asked.")
    states: Mapping[str, str] = Field(default_factory=dict, description="Names of columns by their key.")
    default_states: Mapping[str, str] = Field(
        default_factory=dict, description="Ids of columns by their key, for reading where the board gives none."
    )


class ForgeConfig(Table):
    """What holds the code."""

    kind: Literal["local", "gitea"] = about("local", "local: bare git repositories; gitea (Forgejo too).")
    url: f.PublicUrl = about("", "gitea: its address.")
    token: f.Secret | None = about(None, "gitea: an access token.")
    webhook_secret: f.Secret | None = about(None, "The secret that webhooks are signed with; unset: none is taken.")
    path: f.LocalPath = about("", "local: the folder of the repositories. Empty: git under server.data.")


class ProjectConfig(Table):
    """One project."""

    prefix: Annotated[str, AfterValidator(check_prefix)] = about(..., "What its tasks' keys begin with: SH is SH-12.")
    tracker_project: Word = about("", "The tracker's id of it. Empty: its name here.")
    repo: Annotated[str, AfterValidator(_repo)] = about("", "Its repository on the forge. Empty: its name here.")
    branch: Annotated[str, AfterValidator(_branch)] = about("main", "The branch that is merged into.")
    app: str = about("", "The app of [apps] that is deployed. Empty: nothing is.")
    own: bool = about(default=False, description="That app is this Millpond itself: it is watched, never acted upon.")
    pipeline: Mapping[str, Any] = Field(
        default_factory=dict, description="Its pipeline. Empty: what the repo has, else [pipeline], else the default."
    )
