"""The fast lane and a registry: the same bytes as the long way, and two listeners that are never mixed up."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.images import INDEX, MANIFEST, V2, image
from tests.server.test_lane import listen, say

from millpond.api.site import site
from millpond.app.opening import open_app
from millpond.app.sourcing import Source, load
from millpond.server.lane import Lane, protocol
from millpond.server.protocol import PondProtocol
from millpond.testing.clock import FakeClock
from millpond.testing.loopthread import LoopThread
from millpond.testing.upstream import ThreadedUpstream

CONFIG = """
[repositories.library]
package = "docker"
base_url = "{url}/other"
[repositories.hub]
package = "docker"
base_url = "{url}"
mirror_of = "docker.io"
"""
ONE, OTHER = image("one"), image("other")
BLOB = ONE.layers[0]
PATHS = [f"/v2/hub/library/demo/blobs/{BLOB}", f"/v2/hub/library/demo/manifests/{ONE.digest}"]
TAG = "/v2/hub/library/demo/manifests/latest"


class Three:
    """One application behind three listeners: with the lane, for mirrors with the lane, and without."""

    def __init__(self, folder: Path, upstream: ThreadedUpstream) -> None:
        self._folder, self._upstream = folder, upstream
        self.thread = LoopThread("lane")
        self.served: list[str] = []
        self.lane = self.mirror = self.plain = 0
        self.thread.run(self._open())

    async def _open(self) -> None:
        file = self._folder / "millpond.toml"
        file.write_text(CONFIG.format(url=self._upstream.url))
        source = Source(file, {"server.data": str(self._folder / "data")}, self._folder)
        config = load(source.path, source.overrides, {}, self._folder)
        self.app = await open_app(config, source, clock=FakeClock(1_700_000_000.0))
        surface = site(self.app)
        served = self.served
        lane = Lane(self.app.hits, surface.doorkeeper, self.app.clock)

        class Watched(protocol(lane)):  # type: ignore[misc]
            def _give(self, order: Any, now: float) -> bool:
                done: bool = super()._give(order, now)
                served.extend(["lane"] * done)
                return done

        self._servers = [await listen(surface, Watched), await listen(surface, Watched)]
        self._servers.append(await listen(surface, PondProtocol))
        self.lane, self.mirror, self.plain = (port for _, port in self._servers)
        object.__setattr__(lane, "mirror_port", self.mirror)

    def say(self, port: int, path: str, *headers: str, method: str = "GET") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "Connection: close", "", ""]
        return self.thread.run(say(port, "\r\n".join(lines).encode()))

    def close(self) -> None:
        for server, _ in self._servers:
            self.thread.run(server.shutdown())
        self.thread.run(self.app.close())
        self.thread.close()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    with ThreadedUpstream() as upstream:
        ONE.offer(upstream, "library/demo")
        upstream.put("/other/v2/demo/manifests/latest", OTHER.index, headers={"content-type": INDEX})
        with contextlib.closing(Three(tmp_path_factory.mktemp("three"), upstream)) as made:
            for path in (*PATHS, TAG):
                for _ in range(2):
                    made.say(made.lane, path)
            yield made


@pytest.mark.parametrize("path", [*PATHS, TAG])
@pytest.mark.parametrize(
    "headers", [(), ("Range: bytes=3-9",), (f"Accept: {V2}, {INDEX}",)], ids=["", "range", "accept"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_both_ways_give_the_same_bytes(three: Three, path: str, headers: tuple[str, ...], method: str):
    three.say(three.lane, path, *headers)
    three.say(three.lane, path, *headers)
    three.served.clear()
    answered = three.say(three.lane, path, *headers, method=method)
    assert three.served == ["lane"]
    assert answered == three.say(three.plain, path, *headers, method=method)
    assert b"docker-content-digest: sha256:" in answered
    assert b"docker-distribution-api-version: registry/2.0" in answered


def test_an_engines_many_accept_lines_are_one(three: Three):
    lines = [f"Accept: {kind}" for kind in (V2, INDEX, MANIFEST)]
    for path in (*PATHS, TAG):
        for _ in range(2):
            three.say(three.lane, path, *lines)
        three.served.clear()
        answered = three.say(three.lane, path, *lines)
        assert three.served == ["lane"]
        assert answered == three.say(three.plain, path, *lines)


def test_other_lines_that_are_there_twice_are_left_to_the_long_way(three: Three):
    three.served.clear()
    three.say(three.lane, PATHS[0], "Range: bytes=0-1", "Range: bytes=2-3")
    assert three.served == []


def test_one_path_on_two_listeners_is_two_things(three: Three):
    """Here `library` is a repository; there it is the first part of an image's name."""
    path = "/v2/library/demo/manifests/latest"
    for _ in range(4):
        assert three.say(three.lane, path).endswith(OTHER.index)
        assert three.say(three.mirror, path).endswith(ONE.index)
    three.served.clear()
    assert three.say(three.mirror, path).endswith(ONE.index)
    assert three.say(three.lane, path).endswith(OTHER.index)
    assert three.served == ["lane", "lane"]


def test_the_head_of_a_hit_has_what_a_registry_tells(three: Three):
    head = three.say(three.mirror, PATHS[0].replace("/hub", ""), method="HEAD").decode()
    assert re.search(rf"content-length: {len(ONE.blobs[BLOB])}\r\n", head)
    assert f"docker-content-digest: {BLOB}\r\n" in head
