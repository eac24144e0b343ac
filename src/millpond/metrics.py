"""Counters and gauges for Prometheus, per process, summed over the workers when they are read.

Hits, misses, bytes and outcomes are counted per repository. With more than one worker the values live in
memory-mapped files that outlive a worker (`prometheus_client`'s multi-process mode), so that no restart and no
flush resets them.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FILES = ("counter", "gauge_livemax", "gauge_livesum", "histogram")
_FILE_BYTES = 1 << 20
_USED = struct.Struct("i")
"""What a value file begins with: how many of its bytes are in use."""
_STATES: Mapping[str, int] = {"closed": 0, "half-open": 1, "open": 2}


class Metrics:
    """All of this process's metrics; `shared` is the folder of the multi-process files, None with one worker.

    With `shared`, the process is set to `prometheus_client`'s multi-process mode for good.
    """

    def __init__(self, shared: Path | None = None) -> None:
        if shared is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)  # where it looks
            values.ValueClass = _Values(shared, values.MultiProcessValue())  # type: ignore[no-untyped-call]
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._shared = shared
        make: dict[str, Any] = {"registry": self.registry}
        repo = ["repository"]
        self._requests = Counter("millpond_requests", "Served artifacts", [*repo, "outcome"], **make)
        self._hits = Counter("millpond_cache_hits", "Answers from the store", repo, **make)
        self._misses = Counter("millpond_cache_misses", "Answers that had to be fetched", repo, **make)
        self._served = Counter("millpond_served_bytes", "Bytes sent to clients", [*repo, "outcome"], **make)
        self._fetched = Counter("millpond_fetched_bytes", "Bytes fetched from upstreams", repo, **make)
        self._revalidations = Counter("millpond_revalidations", "Conditional requests sent upstream", repo, **make)
        self._expired = Counter("millpond_expired_served", "Stale entry files past their Valid-Until", repo, **make)
        self._joined = Counter("millpond_flights_joined", "Requests that joined a running fetch", repo, **make)
        self._errors = Counter("millpond_errors", "Error answers by status", [*repo, "status"], **make)
        self._upstream_errors = Counter(
            "millpond_upstream_errors", "Upstream failures by kind", [*repo, "kind"], **make
        )
        gauge = make | {"multiprocess_mode": "livemax"}
        self._upstream_state = Gauge("millpond_upstream_state", "0 closed, 1 half-open, 2 open circuit", repo, **gauge)
        self._upstream_latency = Gauge(
            "millpond_upstream_latency_seconds", "Time to first byte, smoothed", repo, **gauge
        )
        self._quota = Gauge("millpond_upstream_quota_remaining", "Pulls that an upstream's quota leaves", repo, **gauge)
        self._disk = Gauge("millpond_disk_bytes", "Disk use", ["what"], **gauge)
        self._flights = Gauge("millpond_flights", "Fetches under way", **(make | {"multiprocess_mode": "livesum"}))
        self._usage_dropped = Gauge(
            "millpond_usage_dropped", "Usage records lost to back-pressure", **(make | {"multiprocess_mode": "livesum"})
        )
        self._pulls = Counter("millpond_host_pulls", "Images that hosts were given", ["host", "outcome"], **make)
        self._pulled = Counter("millpond_host_pulled_bytes", "Bytes of the layers of pulled images", ["host"], **make)
        self._tasks = Gauge("millpond_tasks", "Tasks of the event loop", **(make | {"multiprocess_mode": "livesum"}))
        buckets = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
        self._deploys = Counter("millpond_deploys", "Deploys and rollbacks by outcome", ["app", "outcome"], **make)
        spans = (5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
        self._deploy_time = Histogram("millpond_deploy_seconds", "How long they took", ["app"], buckets=spans, **make)
        self._looks = Counter("millpond_delivery_looks", "Looks at issues", **make)
        self._nudges = Counter("millpond_delivery_nudges", "Reasons to look at an issue", ["source"], **make)
        self._webhooks = Counter("millpond_delivery_webhooks", "Webhooks by status", ["sender", "status"], **make)
        self._asked = Counter("millpond_delivery_tracker_calls", "Calls of the tracker", ["call", "outcome"], **make)
        self._polls = Counter("millpond_delivery_polls", "Polls of a project's board", ["project", "outcome"], **make)
        self._polled_at = Gauge(
            "millpond_delivery_last_complete_poll_timestamp_seconds", "When all was last listed", ["project"], **gauge
        )
        self._poll_age = Gauge(
            "millpond_delivery_poll_age_seconds", "Age of the last complete poll", ["project"], **gauge
        )
        self._polled: dict[str, float] = {}
        self._jobs = Gauge("millpond_delivery_jobs", "Jobs by state", ["state"], **gauge)
        self._work = Gauge("millpond_delivery_tasks", "Tasks by phase", ["phase"], **gauge)
        self._backlog = Gauge("millpond_delivery_backlog", "Nudges and writes that wait", ["what"], **gauge)
        self._spent = Gauge("millpond_delivery_spent_today_usd", "Spent today (UTC)", ["project"], **gauge)
        self._lag = Histogram("millpond_event_loop_lag_seconds", "Delay of a timer", buckets=buckets, **make)

    def served(self, repository: str, outcome: str, size: int, count: int = 1) -> None:
        """Count served artifacts and their bytes together; everything but a miss is a cache hit."""
        self._requests.labels(repository, outcome).inc(count)
        (self._misses if outcome == "miss" else self._hits).labels(repository).inc(count)
        self._served.labels(repository, outcome).inc(size)

    def refused(self, repository: str, status: int) -> None:
        """Count one error answer."""
        self._errors.labels(repository, str(status)).inc()

    def fetched(self, repository: str, size: int) -> None:
        """Count bytes that came from upstream."""
        self._fetched.labels(repository).inc(size)

    def revalidating(self, repository: str) -> None:
        """Count one conditional request."""
        self._revalidations.labels(repository).inc()

    def expired(self, repository: str) -> None:
        """Count one stale answer that is past the end of its own validity (Debian: Valid-Until)."""
        self._expired.labels(repository).inc()

    def joined(self, repository: str) -> None:
        """Count one request that joined a flight."""
        self._joined.labels(repository).inc()

    def upstream_failed(self, repository: str, kind: str) -> None:
        """Count one upstream failure."""
        self._upstream_errors.labels(repository, kind).inc()

    def upstream(self, repository: str, state: str, latency_s: float) -> None:
        """Note an upstream's circuit and latency."""
        self._upstream_state.labels(repository).set(_STATES.get(state, 0))
        self._upstream_latency.labels(repository).set(latency_s)

    def quota(self, repository: str, remaining: int) -> None:
        """Note how many pulls an upstream's quota leaves."""
        self._quota.labels(repository).set(remaining)

    def disk(self, what: str, size: int) -> None:
        """Note disk use: ``used``, ``limit``, ``free``."""
        self._disk.labels(what).set(size)

    def usage_dropped(self, count: int) -> None:
        """Note how many usage records were lost so far."""
        self._usage_dropped.set(count)

    def pulled(self, host: str, outcome: str, size: int) -> None:
        """Count how the pull of an image to a host ended, and the bytes of its layers as far as they are known."""
        self._pulls.labels(host, outcome).inc()
        self._pulled.labels(host).inc(size)

    def flying(self, count: int) -> None:
        """Note the number of fetches under way."""
        self._flights.set(count)

    def busy(self, tasks: int) -> None:
        """Note how many tasks the event loop has."""
        self._tasks.set(tasks)

    def lagged(self, seconds: float) -> None:
        """Note how late the event loop was."""
        self._lag.observe(seconds)

    def deployed(self, app: str, outcome: str, seconds: float) -> None:
        """Count one deploy or rollback: ``active``, ``failed``, ``interrupted``, ``stopped`` (nothing was changed)."""
        self._deploys.labels(app, outcome).inc()
        self._deploy_time.labels(app).observe(seconds)

    def looked(self, count: int) -> None:
        """Count looks at issues."""
        self._looks.inc(count)

    def nudged(self, source: str, count: int = 1) -> None:
        """Count reasons to look: ``webhook``, ``poll``, ``person``."""
        self._nudges.labels(source).inc(count)

    def hooked(self, sender: str, status: int) -> None:
        """Count one webhook by how it was answered."""
        self._webhooks.labels(sender, str(status)).inc()

    def tracker_asked(self, call: str, outcome: str) -> None:
        """Count one call of the tracker: ``done`` or ``failed``."""
        self._asked.labels(call, outcome).inc()

    def polled(self, project: str, outcome: str, now: float) -> None:
        """Count one poll of a project: ``complete``, ``incomplete``, ``failed``; `now` in epoch seconds."""
        self._polls.labels(project, outcome).inc()
        if outcome == "complete":
            self._polled[project] = now
            self._polled_at.labels(project).set(now)

    def delivery(
        self,
        jobs: Mapping[str, int],
        tasks: Mapping[str, int],
        backlog: Mapping[str, int],
        spent: Mapping[str, float],
        now: float,
    ) -> None:
        """Note how the delivery stands: jobs by state, tasks by phase, what waits, US dollars by project."""
        for gauge, counted in ((self._jobs, jobs), (self._work, tasks), (self._backlog, backlog), (self._spent, spent)):
            for name, count in counted.items():
                gauge.labels(name).set(count)
        for project, at in self._polled.items():
            self._poll_age.labels(project).set(max(now - at, 0.0))

    def text(self) -> bytes:
        """Give the Prometheus text, over all workers."""
        return generate_latest(self._source())

    def values(self) -> dict[str, float]:
        """Give the same as a flat mapping, for JSON: ``name{label="value"}`` to number."""
        found: dict[str, float] = {}
        for family in self._source().collect():
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def _source(self) -> CollectorRegistry:
        if self._shared is None:
            return self.registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._shared))  # type: ignore[no-untyped-call]
        return registry


class _Values:
    """Makes values: in this process's files where these have room, else for this process alone.

    A value is written through a memory map, and where that has no disk behind it a full disk is a bus error. So each
    file is written out as far as it reaches, and before `prometheus_client` doubles a file that is full, so is its
    second half. Where there is no room for it, new values are counted by this process only, and the sums over all
    workers lack them, until there is room again.
    """

    def __init__(self, folder: Path, in_files: Any) -> None:
        self._folder, self._in_files = folder, in_files
        for kind in _FILES:
            self._has_room(kind, 0)

    def __call__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **more: Any,
    ) -> Any:
        """Make one, as `prometheus_client.values` does."""
        key = mmap_key(metric_name, name, list(labelnames), list(labelvalues), help_text)
        kind = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
        make = self._in_files if self._has_room(kind, _size_of(key)) else values.MutexValue
        return make(
            typ, metric_name, name, labelnames, labelvalues, help_text, multiprocess_mode=multiprocess_mode, **more
        )

    def _has_room(self, kind: str, size: int) -> bool:
        """Make sure that so many more bytes of a file are written out."""
        path = self._folder / f"{kind}_{os.getpid()}.db"
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                _write_out(fd, size)
            finally:
                os.close(fd)
            return True
        with contextlib.suppress(OSError):
            if path.stat().st_size < _FILE_BYTES:  # it could not even be begun, and can't be read so
                path.unlink()
        return False


def _size_of(key: str) -> int:
    """Give the bytes that a value takes in its file: a length, the padded key, value and time."""
    return _USED.size + len(key.encode()) + 8 + 16


def _write_out(fd: int, size: int) -> None:
    """Give a file of values the disk for so many more bytes, in the steps in which it grows. Raises `OSError`."""
    there = os.fstat(fd).st_size
    (used,) = _USED.unpack(os.pread(fd, _USED.size, 0) or bytes(_USED.size))
    wanted = _FILE_BYTES
    while wanted < used + size:
        wanted *= 2
    if wanted <= there:
        return
    try:
        os.posix_fallocate(fd, 0, wanted)
    except OSError:
        os.ftruncate(fd, there)  # a part of it would look as if all were there
        raise
