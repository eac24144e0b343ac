"""The upstream that this machine's own clients use, through an adopted pond: tiny packages, byte for byte.

No address is written here: the pond adopts it, and the direct download asks where the pond says that it has it from.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest
from tests.clients.indexes import JSON
from tests.clients.programs import Client, Pip, Room
from tests.conftest import MakePond
from tests.jail import Jail

from millpond.testing.pond import PondProcess, free_port

pytestmark = [pytest.mark.live, pytest.mark.client]
SIX, IDNA = "six==1.16.0", "idna==3.7"
FILES = {"six": "six-1.16.0-py2.py3-none-any.whl", "idna": "idna-3.7-py3-none-any.whl"}
CONFIG = "[access]\nallow_open_network = true\n"
TIMEOUT_S = 20.0


@dataclass(slots=True)
class Live:
    """A pond that adopted this machine's index."""

    pond: PondProcess
    index: str

    @property
    def url(self) -> str:
        return f"{self.pond.url}/pypi/simple/"

    def outcomes(self, project: str) -> list[str]:
        """Tell how the page and the file of a project are served now."""
        paths = (f"/pypi/simple/{project}/", f"/pypi/files/{project}/{FILES[project]}")
        return [self.pond.get(path, {"accept": JSON}).headers["cache-status"] for path in paths]


@pytest.fixture
def live(make_pond: MakePond, jail: Jail) -> Live:
    """Adopt; skip with the reason where there is nothing to adopt, or it does not answer."""
    ours = {name: value for name, value in os.environ.items() if name not in {"HOME", "PATH", "PYTHONPATH"}}
    pond = make_pond(CONFIG, host=jail.address, environ=ours)
    file = pond.data / "adopted.json"
    probe = pond.get("/pypi/simple/six/", {"accept": JSON})
    if not file.exists():
        pytest.skip(f"nothing was adopted: {pond.log.read_text()}")
    if probe.status != 200:
        pytest.skip(f"the adopted index does not answer: {probe.status} {probe.body.decode()}")
    adopted = {one["package"]: one["base_url"] for one in json.loads(file.read_bytes())["adopted"]}
    return Live(pond, adopted["pypi"])


@pytest.fixture
def direct(live: Live) -> Callable[[str], bytes]:
    """Download a project's file past the pond, as the index says."""

    def fetch(project: str) -> bytes:
        base = f"{live.index.rstrip('/')}/{project}/"
        try:
            asked = urllib.request.Request(base, headers={"Accept": "text/html"})
            with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as page:
                url, fragment = urldefrag(Links(page.read().decode()).found[FILES[project]])
            with urllib.request.urlopen(urljoin(base, url), timeout=TIMEOUT_S) as got:
                body: bytes = got.read()
        except urllib.error.URLError as error:
            pytest.skip(f"no direct download to compare with: {error}")
        assert fragment in {"", f"sha256={hashlib.sha256(body).hexdigest()}"}
        return body

    return fetch


class Links(HTMLParser):
    """A page's links by what they are called."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._href = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._href = (dict(attrs).get("href") or "") if tag == "a" else ""

    def handle_data(self, data: str) -> None:
        if self._href:
            self.found[data.strip()] = self._href

    def handle_endtag(self, _tag: str) -> None:
        self._href = ""


def payload(wheel: bytes) -> dict[str, bytes]:
    """Give a wheel's files, but for what an installer writes anew."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith(("/", "/RECORD"))}


def test_downloads_are_byte_identical(live: Live, pip: Pip, room: Room, direct: Callable[[str], bytes], tmp_path: Path):
    got = pip.download(room, live.url, tmp_path / "got", "--no-deps", SIX, IDNA).files(tmp_path / "got")
    assert got == {FILES[project]: direct(project) for project in ("six", "idna")}


def test_installs_are_what_the_wheel_has_and_the_second_one_is_served_from_the_cache(
    live: Live, client: Client, room: Room, direct: Callable[[str], bytes], tmp_path: Path
):
    cold = client.install(room, live.url, tmp_path / "cold", SIX, IDNA).files(tmp_path / "cold")
    expected = payload(direct("six")) | payload(direct("idna"))
    assert expected == {name: cold[name] for name in expected}
    assert all(status.startswith("millpond; hit") for project in FILES for status in live.outcomes(project))
    warm = client.install(room, live.url, tmp_path / "warm", SIX, IDNA).files(tmp_path / "warm")
    assert warm == cold


def test_installs_with_the_world_gone(live: Live, client: Client, room: Room, jail: Jail, tmp_path: Path):
    first = client.install(room, live.url, tmp_path / "first", SIX).files(tmp_path / "first")
    assert live.pond.stop() == 0
    with _cut_off(live.pond, jail) as pond:
        assert pond.get("/pypi/simple/idna/", {"accept": JSON}).status in {502, 503}
        offline = client.install(room, f"{pond.url}/pypi/simple/", tmp_path / "offline", SIX)
        assert offline.files(tmp_path / "offline") == first


def _cut_off(pond: PondProcess, jail: Jail) -> PondProcess:
    """Give the same pond with every way to the outside through a proxy that is not there."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    return PondProcess(pond.folder, CONFIG, host=jail.address, port=pond.port, environ={**proxies, "NO_PROXY": ""})
