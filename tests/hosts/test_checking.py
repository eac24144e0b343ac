"""`host check`: each thing that is missing is named, with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.hosts.conftest import df

from millpond.hosts.checking import check
from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.hosts.prune import Watched
from millpond.testing.hosts import FakeHost

Watch = Callable[..., Watched]


@pytest.fixture
def watched(watch: Watch) -> Watched:
    made = watch()
    assert isinstance(made.host, FakeHost)
    made.host.on("uname", answer="Linux 6.1 x86_64\n")
    made.host.on("docker", "version", answer=json.dumps({"Client": {"Version": "28"}, "Server": {"Version": "20"}}))
    made.host.on("docker", "compose", answer=Completed(1, "", "'compose' is not a docker command"))
    made.host.on("docker-compose", answer="2.40.0\n")
    return made


async def failing(watched: Watched) -> dict[str, str]:
    return {one.what: one.advice for one in await check(watched.host, watched.options) if not one.ok}


async def test_a_good_host_passes_in_everything(watched: Watched):
    found = await check(watched.host, watched.options)
    assert [(one.what, one.ok) for one in found] == [
        ("local", True), ("docker", True), ("disk", True), ("compose", True), ("swarm", True),
    ]  # fmt: skip
    assert not any(one.advice for one in found)
    assert "docker-compose 2.40.0" in found[3].told


@pytest.mark.parametrize(
    "reason", ["refused", "timeout", "host-key", "denied", "unknown", "unreachable", "no-ssh", "lost", "other"]
)
async def test_a_host_that_can_t_be_reached_says_why_and_what_to_do(watched: Watched, reason: str):
    watched.host.on("uname", answer=HostFailed("web1", "no", kind=Kind.TRANSIENT, reason=reason, rc=255))
    found = await failing(watched)
    assert list(found) == ["local"]
    assert found["local"]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("permission denied while trying to connect to the Docker daemon socket", "usermod"),
        ("Cannot connect to the Docker daemon. Is the docker daemon running?", "start the engine"),
        ("docker: not found", "install Docker"),
    ],
)
async def test_an_engine_that_can_t_be_used_says_what_to_do(watched: Watched, said: str, advice: str):
    watched.host.on("docker", "version", answer=Completed(1, "", said))
    assert advice in (await failing(watched))["docker"]


async def test_a_full_disk_and_a_missing_compose_are_told(watched: Watched):
    watched.host.on("df", "-P", "-k", answer=df(95))
    watched.host.on("docker-compose", answer=Completed(127, "", "docker-compose: not found"))
    found = await failing(watched)
    assert list(found) == ["disk", "compose"]
    assert "--dry-run" in found["disk"]
    assert "install" in found["compose"]


@pytest.mark.parametrize("what", ["version", "info", "compose"])
async def test_an_engine_that_hangs_is_a_row(watched: Watched, what: str):
    watched.host.on("docker", what, answer=HostFailed("web1", "60 s", kind=Kind.TRANSIENT, reason="timeout"))
    assert await failing(watched)
