"""The build-cache pruner: ``docker builder prune -f --filter until=...`` on each host, now and then.

Only the build cache: never images, containers or volumes, never a daemon. It is a leaf: it knows nothing of pipelines.
Whether and what is decided by values (`decide`); `Pruner.tick` carries it out for one host, holding the host's lease so
that neither side runs into the other, and never raises: what goes wrong is remembered as that host's last error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from millpond.clock import Clock
from millpond.errors import Busy
from millpond.hosts.commands import Docker, brief, failure_text, read_reclaimed
from millpond.hosts.inspecting import cache_held_bytes, free_bytes, runs_build
from millpond.hosts.model import HostFailed, HostOptions, Kind, PruneOptions, Reclaimed, Run
from millpond.hosts.ports import Host, Notifier
from millpond.hosts.runs import Runs
from millpond.hosts.sizes import write_size
from millpond.leases import Leases, host_lease

TASK = "build_cache_prune"
WHO = "build-cache-pruner"
NO_HOST = "no ssh host is configured: there is nothing to prune"
LEASED = "a build or a deploy of ours holds the host"
BUILDING = "BuildKit runs a build there"
LEASE_S = 120.0
GB = 1000**3
log = structlog.get_logger(__name__)


def due(options: PruneOptions, last_run: float | None, now: float) -> bool:
    """Whether it is time: never yet, or the interval is over. A last run ahead of the clock (set back) counts as none.

    A failed attempt counts as a run.
    """
    return last_run is None or last_run > now or now - last_run >= options.interval_s


@dataclass(frozen=True, slots=True)
class Watched:
    """What upkeep of one host works with."""

    host: Host
    options: HostOptions
    runs: Runs
    leases: Leases
    notifier: Notifier
    clock: Clock
    holder: str
    """Who we are, in the host's lease."""

    @property
    def docker(self) -> Docker:
        """The command lines for its engine."""
        return Docker(self.options.docker_host)


class Pruner:
    """Prunes the build cache of one host."""

    def __init__(self, watched: Watched) -> None:
        self._with, self._options = watched, watched.options.prune

    async def tick(self) -> None:
        """Prune if it is switched on and due. Never raises."""
        name = self._with.options.name
        try:
            last = await self._with.runs.of(name, TASK)
            if self._options.enabled and due(self._options, last.ran_at, self._with.clock.now()):
                await self.prune()
        except Exception as error:
            log.exception("the build-cache pruner failed; it goes on", host=name, error=str(error))

    async def prune(self) -> Run:
        """Prune now, unless a lease or a running build forbids it; gives what is remembered of it."""
        watched, name = self._with, self._with.options.name
        before = await watched.runs.of(name, TASK)
        try:
            return await self._alone(before)
        except Busy as error:  # the lease was lost in the middle
            run = self._failed(before, brief(str(error)))
            await watched.runs.note(name, TASK, run)
            _tell_change(name, before.error, run.error)
            return run

    async def _alone(self, before: Run) -> Run:
        """Prune under the host's lease. Raises `Busy`."""
        watched, name = self._with, self._with.options.name
        async with watched.leases.holding(host_lease(name), f"{watched.holder}/{WHO}", LEASE_S) as mine:
            if not mine:
                return await self._put_off(before, LEASED)
            try:
                if await runs_build(watched.host, watched.docker, watched.options.limits, watched.clock.now()):
                    return await self._put_off(before, BUILDING)
                run = await self._run()
            except HostFailed as error:
                run = self._failed(before, error.told)
            except Exception as error:  # noqa: BLE001 - remembered, as whatever goes wrong there is
                run = self._failed(before, brief(f"{type(error).__name__}: {error}"))
            await watched.runs.note(name, TASK, run)
        _tell_change(name, before.error, run.error)
        if not run.error:
            await self._notify(run)
        return run

    async def _put_off(self, before: Run, why: str) -> Run:
        """Remember why nothing was done; that is no run, so the next tick looks again."""
        run = Run(before.ran_at, before.error, {**before.told, "skipped": why, "skipped_ts": self._with.clock.now()})
        await self._with.runs.note(self._with.options.name, TASK, run)
        return run

    async def _run(self) -> Run:
        """Prune, and measure the disk before and after: the printed figure can mislead. Raises `HostFailed`."""
        watched, options = self._with, self._options
        free_before = await free_bytes(watched.host, watched.docker, watched.options.limits)
        argv = watched.docker.prune_cache(options.until, all_=options.all)
        done = await watched.host.run(argv, timeout_s=options.timeout_s)
        if not done.ok:
            raise HostFailed(
                watched.options.name, failure_text(done), kind=Kind.TRANSIENT, reason="command", rc=done.rc
            )
        free_after = await free_bytes(watched.host, watched.docker, watched.options.limits)
        reclaimed = read_reclaimed(done.out)
        return Run(watched.clock.now(), "", _told(reclaimed, free_before, free_after))

    def _failed(self, before: Run, error: str) -> Run:
        """Count it as a run; what the last good one reclaimed stays."""
        told = {key: before.told.get(key) for key in _told(None, None, None)}
        return Run(self._with.clock.now(), error, told)

    async def _notify(self, run: Run) -> None:
        size = run.told.get("reclaimed_bytes")
        least = self._options.notify_min_gb
        if least > 0 and isinstance(size, int) and size >= least * GB:
            name = self._with.options.name
            title = f"{WHO}: {run.told['reclaimed']} of build cache removed on {name}"
            await self._with.notifier.notify(title, f"{title} (not used for {self._options.until}).")

    async def plan(self) -> dict[str, Any]:
        """Say what `prune` would do now. Raises `HostFailed`."""
        watched, options = self._with, self._options
        last = await watched.runs.of(watched.options.name, TASK)
        leased = await watched.leases.current(host_lease(watched.options.name))
        building = await runs_build(watched.host, watched.docker, watched.options.limits, watched.clock.now())
        held = await cache_held_bytes(watched.host, watched.docker, watched.options.limits)
        return {
            "argv": list(watched.docker.prune_cache(options.until, all_=options.all)),
            "enabled": options.enabled,
            "due": due(options, last.ran_at, watched.clock.now()),
            "skip": LEASED if leased else BUILDING if building else "",
            "at_most_bytes": held,
        }


def _told(reclaimed: Reclaimed | None, before: int | None, after: int | None) -> dict[str, object]:
    return {
        "reclaimed": reclaimed.text if reclaimed else None,
        "reclaimed_bytes": reclaimed.bytes if reclaimed else None,
        "free_before_bytes": before,
        "free_after_bytes": after,
    }


def _tell_change(host: str, before: str, now: str) -> None:
    """Log a failure when it begins or changes, and its end: a dead host is one line, not one in each tick."""
    if now and now != before:
        log.warning("the build cache could not be pruned", host=host, error=now)
    elif before and not now:
        log.info("the build cache is pruned again", host=host)


def status_of(options: PruneOptions, run: Run) -> dict[str, object]:
    """Give the eight fields of one host in the contract's order, then what is known beyond them."""
    return {
        "enabled": options.enabled,
        "interval_s": options.interval_s,
        "until": options.until,
        "all": options.all,
        "last_run_ts": run.ran_at,
        "last_reclaimed": run.told.get("reclaimed"),
        "last_reclaimed_bytes": run.told.get("reclaimed_bytes"),
        "last_error": run.error or None,
        "free_before_bytes": run.told.get("free_before_bytes"),
        "free_after_bytes": run.told.get("free_after_bytes"),
        "skipped": run.told.get("skipped"),
        "skipped_ts": run.told.get("skipped_ts"),
    }


def status(common: PruneOptions, hosts: Mapping[str, tuple[PruneOptions, Run]]) -> dict[str, object]:
    """Give the eight fields over all hosts (the settings those of `[upkeep.build_cache]`), and `hosts` with each one.

    The time is the latest; what was reclaimed is the sum of each host's last; each failing host has its part in the
    error.
    """
    each = {name: status_of(options, run) for name, (options, run) in hosts.items()}
    runs = [run for _, run in hosts.values()]
    errors = [f"{name}: {run.error}" for name, (options, run) in hosts.items() if run.error and options.enabled]
    sizes = [size for run in runs if isinstance(size := run.told.get("reclaimed_bytes"), int)]
    texts = [run.told.get("reclaimed") for run in runs if run.told.get("reclaimed_bytes") is not None]
    over_all = status_of(common, Run())
    eight = {key: over_all[key] for key in ("enabled", "interval_s", "until", "all")}
    return {
        **eight,
        "last_run_ts": max((run.ran_at for run in runs if run.ran_at is not None), default=None),
        "last_reclaimed": texts[0] if len(texts) == 1 else write_size(sum(sizes)) if sizes else None,
        "last_reclaimed_bytes": sum(sizes) if sizes else None,
        "last_error": ("; ".join(errors) if hosts else NO_HOST if common.enabled else "") or None,
        "hosts": each,
    }
