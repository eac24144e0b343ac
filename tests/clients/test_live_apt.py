"""The archive that this machine's own apt uses, through an adopted pond: one small suite, byte for byte.

No address is written here: the pond adopts it, and the direct download asks where the pond says that it has it from.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.clients.apt import MISMATCH, Apt
from tests.clients.programs import Room
from tests.conftest import MakePond
from tests.jail import Jail

from millpond.adopt import Machine, run_tool
from millpond.adopt.sourceslist import sources
from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.live, pytest.mark.client, pytest.mark.timeout(300)]
CONFIG = """
[access]
allow_open_network = true
[repositories.debian]
package = "debian"
base_url = "adopt"
"""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT_S = 20.0


@dataclass(slots=True)
class Live:
    """A pond that adopted this machine's archive, and a small suite of it."""

    pond: PondProcess
    suite: str
    upstream: str

    def direct(self, path: str) -> bytes:
        """Ask the archive itself, as this machine would."""
        with urllib.request.urlopen(f"{self.upstream}/{path}", timeout=TIMEOUT_S) as reply:
            return reply.read()


@pytest.fixture
def live(make_pond: MakePond, jail: Jail) -> Live:
    release = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    suite = release.get("VERSION_CODENAME", "").strip('"') + "-updates"
    machine = Machine({}, Path("/nonexistent"), run_tool)
    if release.get("ID", "").strip('"') != "debian" or not KEYRING.exists():
        pytest.skip("this is no Debian machine")
    if not any(suite in source.suites.split() for source in sources(machine)):
        pytest.skip(f"apt's package lists have no {suite}")
    pond = make_pond(CONFIG, host=jail.address)
    adopted = json.loads((pond.data / "adopted.json").read_text())["adopted"]
    upstream = next(one["base_url"] for one in adopted if one["repository"] == "debian")
    made = Live(pond, suite, upstream)
    try:
        made.direct(f"dists/{suite}/InRelease")
    except (OSError, urllib.error.URLError) as error:
        pytest.skip(f"the archive does not answer: {error}")
    return made


def test_a_suite_s_lists_come_as_they_are_and_apt_believes_them(live: Live, room: Room, tmp_path: Path):
    apts = [Apt(room, tmp_path / f"machine{number}") for number in range(2)]
    for number, apt in enumerate(apts):
        apt.sources(f"deb [arch=amd64 signed-by={KEYRING}] {live.pond.url}/debian {live.suite} main\n")
        ran = apt.update()
        assert ran.ok, ran.output
        assert MISMATCH not in ran.output
        assert list((apt.root / "state/lists").glob("*Packages*")), number
    path = f"dists/{live.suite}/InRelease"
    got = live.pond.get(f"/debian/{path}")
    assert got.headers["cache-status"].startswith("millpond; hit")
    assert got.body == live.direct(path)


def test_a_package_comes_as_it_is(live: Live, room: Room, tmp_path: Path):
    packages = lzma.decompress(live.direct(f"dists/{live.suite}/main/binary-amd64/Packages.xz")).decode()
    fields = re.compile(r"^(Package|Filename|Size|SHA256): (.*)$", re.MULTILINE)
    stanzas = [dict(fields.findall(one)) for one in packages.split("\n\n")]
    smallest = min((one for one in stanzas if one), key=lambda one: int(one["Size"]))
    for number in range(2):
        apt = Apt(room, tmp_path / f"machine{number}")
        apt.sources(f"deb [arch=amd64 signed-by={KEYRING}] {live.pond.url}/debian {live.suite} main\n")
        assert apt.update().ok
        ran = apt.download(smallest["Package"])
        assert ran.ok, ran.output
        assert MISMATCH not in ran.output
        (body,) = apt.downloaded().values()
        assert hashlib.sha256(body).hexdigest() == smallest["SHA256"], number
    got = live.pond.get(f"/debian/{smallest['Filename']}")
    assert got.headers["cache-status"].startswith("millpond; hit")
    assert got.body == live.direct(smallest["Filename"])
