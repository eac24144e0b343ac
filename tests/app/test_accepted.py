"""The configuration that the workers are handed: whole, private, and unchanged by what is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from millpond.app.accepted import Accepted, read, read_again
from millpond.app.sourcing import Source
from millpond.errors import ConfigError

CONFIG = """
[server]
public_url = "https://pond.lan"
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
[access]
anonymous = "none"
[storage]
url = "file:./elsewhere"
max_size = "50GiB"
[upstream]
patience_s = 3
[repositories.files]
package = "generic"
base_url = "http://127.0.0.1:9/files"
immutable_patterns = ['\\.tar$']
trusted_origins = ["http://127.0.0.1:10"]
username = "robot"
password = { env = "SECRET" }
digests = { "a.tar" = "sha256:DIGEST" }
mutable_ttl_s = 5
[repositories.py]
package = "pypi"
base_url = "adopt"
[repositories.mine]
package = "generic"
type = "local"
max_upload = "1MB"
""".replace("DIGEST", "0" * 64)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "millpond.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def source(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "canary")
    return Source(file, {"server.data": str(tmp_path / "data")}, tmp_path)


@pytest.fixture
def accepted(source):
    return Accepted(source, source.load())


def test_what_is_read_is_what_was_written_with_its_secrets(accepted, source, monkeypatch):
    config = source.load()
    monkeypatch.delenv("SECRET")
    assert read(accepted.file) == config
    assert read(accepted.file).repositories["files"].password.get_secret_value() == "canary"


def test_it_lies_on_no_disk(accepted):
    accepted.propose()
    assert accepted.file.stat().st_nlink == 0
    assert accepted.propose().stat().st_nlink == 0


def test_another_process_of_this_user_may_open_it(accepted):
    script = "import sys, pathlib; sys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes())"
    read_there = subprocess.run([sys.executable, "-c", script, accepted.file], capture_output=True, check=True)
    assert json.loads(read_there.stdout)["repositories"]["files"]["password"] == "canary"


def test_a_proposal_holds_only_once_it_is_confirmed(accepted, file):
    before, name = accepted.file.read_bytes(), accepted.file
    file.write_text(CONFIG.replace("patience_s = 3", "patience_s = 4"))
    assert read(accepted.propose()).upstream.patience_s == 4
    assert accepted.file.read_bytes() == before
    accepted.confirm()
    file.write_text(CONFIG.replace("patience_s = 3", "patience_s = 5"))
    accepted.propose()
    assert accepted.file == name
    assert read(name).upstream.patience_s == 4


def test_a_mistake_proposes_nothing_and_leaves_what_holds(accepted, file):
    before = accepted.file.read_bytes()
    file.write_text("[server]\nprot = 1\n")
    with pytest.raises(ConfigError, match="did you mean"):
        accepted.propose()
    assert accepted.file.read_bytes() == before


def test_what_takes_a_restart_stays_also_for_a_worker_that_is_started_later(accepted, file, tmp_path):
    file.write_text(CONFIG.replace('url = "file:./elsewhere"', 'url = "file:./other"'))
    accepted.propose()
    accepted.confirm()
    assert read(accepted.file).storage_path == tmp_path / "elsewhere"


def test_it_does_not_open_a_pond_that_the_network_reaches(file, source):
    file.write_text(CONFIG.replace("[server]", '[server]\nhost = "0.0.0.0"'))
    current = source.load()
    file.write_text(CONFIG.replace('anonymous = "none"', ""))
    with pytest.raises(ConfigError, match="can be reached from the network"):
        read_again(source, current)


def test_sizes_are_written_as_they_were_meant(accepted):
    assert json.loads(accepted.file.read_bytes())["repositories"]["mine"]["max_upload"] == 1_000_000
