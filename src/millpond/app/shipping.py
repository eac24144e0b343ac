"""Delivery's way to the hosts and to the pond's records: deploys, looks after them, and evidence of both.

A deploy is the operation that ``millpond deploy`` is, in the name of the task. A commit that is out is not brought out
again; one whose deploy was broken off is. Who tries again, because a worker was lost, does not bring out what an
earlier attempt brought out and a later deploy has superseded, nor undoes what a person put there meanwhile (a rollback,
above all). That a commit is out as part of another task's is the step's to find (`steps.deploy`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from millpond.adapters.asking import HttpAsker
from millpond.app.fleet import app_options
from millpond.app.hosted import Hosted
from millpond.app.jobs import family_of
from millpond.delivery.model import Evidence
from millpond.delivery.naming import parse_key
from millpond.delivery.steps.base import Deployed, Out, StepFailed, Watch, Wellness, Work, begun_before, fact
from millpond.errors import BadRequest, Busy, ConfigError, MillpondError, NotFound
from millpond.hosts import health
from millpond.hosts.apps import AppKind, AppOptions
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.release import Release, State, current, previous
from millpond.hosts.rollout import PACE, Place, Rollout, RolloutFailed, find_manager

AGAIN_S = 30.0
PATIENCE_S = 20.0
"""How long one look waits for what is starting."""
MAX_RECORDS = 20_000
PASSING = frozenset({Kind.TRANSIENT, Kind.WAIT})
"""What says nothing that lasts."""
NAMED = 3


def _no_progress(what: str, done: int, of: int | None) -> None:
    """Tell nobody: the job's log is the step's."""


class AppDeployer:
    """See `delivery.steps.base.Deployer`."""

    def __init__(self, app: Hosted) -> None:
        self._app = app

    async def out(self, work: Work) -> Out | None:
        """Say what of the project's app is out, where a task of that kind brought it out.

        What a person deploys has the app folder's commit on record, whatever images it brought out.
        """
        releases = await self._app.hosting.releases.of(work.project.app)
        found = current(releases)
        made = next((one for one in releases if found is not None and one.number == found.source), None)
        if found is None or made is None or parse_key(made.by) is None:
            return None
        return Out(found.number, made.commit)

    async def deploy(self, work: Work, sets: Mapping[str, str]) -> Deployed:
        """Bring a task's commit out, once."""
        name = work.project.app
        releases = await self._app.hosting.releases.of(name)
        out, was = current(releases), _brought_out(work, releases)
        if out is not None and out.commit == work.job.sha:
            return Deployed(True, f"release {out.number} of {name} is out already", out.number)
        if out is not None and was is not None:
            text = f"release {was.number} of {name} was brought out already; release {out.number} is out since"
            return Deployed(True, text, was.number)
        if out is not None and _a_person_s_since(work, out):
            text = f"release {out.number} of {name} is out since this was first tried, by {out.by or 'a person'}"
            return Deployed(False, f"{text}: it is left there; `millpond task release {work.task.key}` deploys anew")
        told = await self._asked("deploy", name=name, sets=dict(sets), by=work.task.key, commit=work.job.sha)
        release = told["release"]
        detail = release["error"] or f"release {release['number']} of {name}"
        return Deployed(bool(told["ok"]), str(detail), int(release["number"]))

    async def look(self, work: Work) -> Watch:
        """Look whether the app of a task's project is well."""
        try:
            app = app_options(work.project.app, self._app.config)
        except NotFound as error:
            raise StepFailed(str(error)) from error
        releases = await self._app.hosting.releases.of(app.name)
        out = current(releases)
        if out is None:
            return Watch(Wellness.DEGRADED, f"no release of {app.name} is active")
        if (mine := _rolled_back(work, releases, out)) is not None:
            was = f"release {mine.number} of {app.name} was rolled back{f' by {out.by}' if out.by else ''}"
            return Watch(Wellness.DEGRADED, f"{was}: release {out.number} is out")
        since_s = self._app.clock.now() - (out.activated_at or out.created_at)
        try:
            wrong = await self._wrong(app, out)
        except HostFailed as error:
            state = Wellness.UNKNOWN if error.kind is Kind.TRANSIENT else Wellness.DEGRADED
            return Watch(state, error.text, since_s)
        detail = wrong or f"release {out.number} of {app.name} runs"
        return Watch(Wellness.DEGRADED if wrong else Wellness.HEALTHY, detail, since_s)

    async def roll_back(self, work: Work) -> str:
        """Bring back what was out before the task's commit."""
        name = work.project.app
        releases = await self._app.hosting.releases.of(name)
        out, back = current(releases), previous(releases)
        if out is not None and out.commit != work.job.sha:
            return f"release {out.number} is out, which is not this commit: nothing was rolled back"
        if back is None:
            raise StepFailed(f"there is no earlier release of {name}")
        told = await self._asked("rollback", name=name, by=work.task.key)
        if not told["ok"]:
            raise StepFailed(str(told["release"]["error"]))
        return f"rolled back to release {back.number}"

    async def _asked(self, what: str, **given: object) -> dict[str, Any]:
        try:
            told: dict[str, Any] = await self._app.operations[what](_no_progress, **given)
        except Busy as error:
            raise StepFailed(str(error), after_s=AGAIN_S, not_yet=True) from error
        except (BadRequest, NotFound, ConfigError) as error:
            raise StepFailed(str(error)) from error
        except HostFailed as error:
            after_s = AGAIN_S if error.kind is Kind.TRANSIENT else None
            raise StepFailed(str(error), after_s=after_s) from error
        except MillpondError as error:  # nothing was changed: an image can't be had now, say
            raise StepFailed(str(error), after_s=AGAIN_S) from error
        return told

    async def _wrong(self, app: AppOptions, out: Release) -> str:
        """Say what is wrong with a release that is out; empty: nothing is. Raises `HostFailed`."""
        async with self._app.hosting.used() as hosting:
            places = [Place(one.host, one.options) for one in (hosting.watched(name) for name in app.hosts)]
            document = await hosting.releases.document(out)
            rollout = await asyncio.to_thread(Rollout.of, app, out, document, PACE)
            looked = [await find_manager(places)] if app.kind is AppKind.SWARM else places
            for place in looked:
                verdict = await rollout.still(place, PATIENCE_S)
                if not verdict.there:
                    wrong = (verdict.failed or verdict.waiting)[:NAMED]
                    return rollout.mask(f"{place.host.name}: {'; '.join(map(str, wrong)) or 'not all of it runs'}")
            quick = replace(app.health, timeout_s=min(app.health.timeout_s, PATIENCE_S))
            try:
                await health.url_is_well(quick, HttpAsker(), rollout.mask)
                for place in places:
                    await health.command_is_well(quick, place.host, rollout.mask)
            except RolloutFailed as error:
                return str(error)
        return ""


def _brought_out(work: Work, releases: Sequence[Release]) -> Release | None:
    """Give the release by which an earlier attempt of this visit's brought the commit out before others deployed."""
    mine = [one for one in releases if (one.commit, one.by) == (work.job.sha, work.task.key)]
    begun = [one for one in mine if (one.activated_at or one.created_at) >= work.since]
    done = [one for one in begun if one.state is State.SUPERSEDED]
    return done[-1] if done and begun_before(work.job) else None


def _rolled_back(work: Work, releases: Sequence[Release], out: Release) -> Release | None:
    """Give the release that brought the task's commit out, if an older one with another commit is out again."""
    brought = [one for one in releases if one.source == one.number]
    mine = [one for one in brought if one.commit == work.job.sha]
    made = next((one for one in brought if one.number == out.source), None)
    older = bool(mine) and made is not None and made.number < mine[-1].number and made.commit != work.job.sha
    return mine[-1] if older else None


def _a_person_s_since(work: Work, out: Release) -> bool:
    """Whether what is out was put there by a person, and after this visit's first attempt had begun."""
    later = begun_before(work.job) and (out.activated_at or out.created_at) >= work.since
    return later and parse_key(out.by) is None


class AppWitness:
    """See `delivery.steps.base.Witness`."""

    def __init__(self, app: Hosted) -> None:
        self._app = app

    async def images(self, work: Work, sha: str) -> Evidence:
        """Ask, by a dry run of the pre-pull, whether every image of the project's app can be pulled.

        Raises `StepFailed` where that can't be told now: a host that is away says nothing of the images.
        """
        if not work.project.app:
            return fact("images", sha, pullable=False, detail="the project deploys no app")
        try:
            told = await self._app.operations["prepull"](_no_progress, name=work.project.app, dry_run=True)
        except Busy as error:
            raise StepFailed(str(error), after_s=AGAIN_S) from error
        except MillpondError as error:
            if isinstance(error, HostFailed) and error.kind in PASSING:
                raise StepFailed(str(error), after_s=AGAIN_S) from error
            return fact("images", sha, pullable=False, detail=str(error)[:500])
        hosts = told["hosts"].items()
        wrong = "; ".join(f"{name}: {host['error'] or _failures(host)}" for name, host in hosts if _failed(host))[:500]
        if wrong and all(_may_pass(host) for _, host in hosts if _failed(host)):
            raise StepFailed(f"whether the images can be pulled is not to be told now: {wrong}", after_s=AGAIN_S)
        return fact("images", sha, pullable=bool(told["ok"]), detail=wrong, images=len(told["images"]))

    async def artifacts(self, work: Work, sha: str) -> Evidence:
        """Ask whether the pond has all that the task's jobs drew from it."""
        app = self._app
        app.hits.flush()
        await app.usage.flush()
        records = await app.usage.records(family=family_of(work.task.key), limit=MAX_RECORDS)
        drawn = {record.digest: f"{record.repository}/{record.path}" for record in records if record.digest}
        stat = app.store.stat
        missing = await asyncio.to_thread(lambda: [path for one, path in drawn.items() if stat(one) is None])
        if len(records) == MAX_RECORDS:
            missing.append(f"more than {MAX_RECORDS} records, which are not all looked at")
        detail = f"lacking: {', '.join(missing[:NAMED])}" if missing else ""
        detail = detail or ("" if drawn else "the task's jobs drew nothing through the pond")
        return fact("artifacts", sha, present=bool(drawn) and not missing, detail=detail, count=len(drawn))


def _failed(host: Mapping[str, Any]) -> bool:
    return bool(host["error"] or host["failures"])


def _may_pass(host: Mapping[str, Any]) -> bool:
    """Whether what failed for a host says nothing that lasts: it was away, or a registry was."""
    kinds = [one["kind"] for one in host["failures"]] + ([host["error_kind"]] if host["error"] else [])
    return all(kind in PASSING for kind in kinds)


def _failures(host: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['image']} ({one['text']})" for one in host["failures"])
