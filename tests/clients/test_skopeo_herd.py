"""Fifty clients of one cold image, two workers: each blob and manifest comes from the registry once."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.clients.registries import Registry, needed, program
from tests.conftest import MakePond
from tests.images import image

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
CLIENTS = 50
NAME = "team/demo"
CONFIG = """
[repositories.reg]
package = "docker"
base_url = "{url}"
"""


def test_a_herd_fetches_each_thing_once(make_pond: MakePond, tmp_path: Path):
    for reason in needed("docker-registry", "skopeo"):
        pytest.skip(reason)
    one = image("herd", (2_000_000, 500_000, 3_000))
    with Registry(tmp_path / "registry") as registry:
        registry.push(one, NAME)
        registry.forget()
        pond = make_pond(CONFIG.format(url=registry.url), workers=2)
        argv = [program("skopeo") or "", "--insecure-policy", "copy", "--all", "--src-tls-verify=false"]
        source = f"docker://{pond.host}:{pond.port}/reg/{NAME}:latest"
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        running = [
            subprocess.Popen(
                [*argv, source, f"dir:{tmp_path}/copy{number}"], env=environ, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True,
            )
            for number in range(CLIENTS)
        ]  # fmt: skip
        ended = [(process.communicate(timeout=240)[1], process.returncode) for process in running]
        assert not [told for told, code in ended if code]
        fetched = Counter(path for method, path in registry.asked() if method == "GET" and path != "/v2/")
    assert set(fetched.values()) == {1}
    assert {path for path in fetched if "/blobs/" in path} == {f"/v2/{NAME}/blobs/{digest}" for digest in one.blobs}
    for number in range(CLIENTS):
        copied = {path.name for path in (tmp_path / f"copy{number}").iterdir()}
        assert {digest.removeprefix("sha256:") for digest in one.blobs} <= copied
