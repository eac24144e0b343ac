"""The file that `millpond init` writes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from millpond.adopt import Adopted, Skipped
from millpond.config import (
    BuildCacheConfig,
    Config,
    DiskConfig,
    RepositoryConfig,
    StorageConfig,
    init_text,
    load,
    with_adopted,
)
from millpond.config.model import UPSTREAM_KEYS

FOUND = Adopted("pypi", "pypi", "https://corp.example/simple/", "PIP_INDEX_URL", "me", "canary")

UNWRITTEN = {"repositories", "hosts", "apps", "projects", "pipeline"}
FULL = """
[server]
host = "::1"
port = 0
data = "var/pond"
public_url = "http://pond.lan:8080"
workers = 2
trusted_proxies = ["10.0.0.0/8"]
drain_timeout_s = 0.125
log_format = "json"
[access]
anonymous = "none"
[storage]
url = "file:store"
max_size = "1.5GiB"
keep_free = 12345
[upstream]
patience_s = 12345.6789
[repositories."re.leases"]
package = "generic"
type = "local"
allow_overwrite = true
max_upload = "1GB"
immutable_patterns = ['\\.whl$', "a\\"b"]
[repositories.files]
package = "generic"
base_url = "https://up.example/files"
check_mutable_updates = true
digests = { "a b/c.txt" = "sha256:%s" }
trusted_origins = ["http://files.lan:81"]
read_timeout_s = 3
max_redirects = 0
[repositories.pypi]
package = "pypi"
base_url = "adopt"
mutable_ttl_s = 0
[upkeep.build_cache]
until = "7d"
notify_min_gb = 0.5
[upkeep.disk]
high_percent = 90.5
[hosts."web.1"]
ssh = "deploy@web1.lan:2222"
labels = ["web", "eu"]
identity_file = "/keys/id \\"x\\""
host_keys = "accept-new"
[hosts."web.1".build_cache]
enabled = false
[hosts."web.1".disk]
images = false
low_percent = 10
[hosts.here]
ssh = "local"
[apps.shop]
path = "shop"
hosts = ["eu", "here"]
kind = "swarm"
files = ["stack.yml"]
[apps.shop.health]
command = ["curl", "-f", "a b"]
interval_s = 0.5
[apps.blog]
path = "/srv/blog"
on = "here"
hosts = ["web.1"]
pull = "direct"
profiles = ["eu"]
""" % ("0" * 64)


def test_what_is_written_loads_back_to_the_same_values(loaded, tmp_path):
    config = loaded(FULL)
    assert loaded(init_text(config, [FOUND], folder=tmp_path)) == config
    assert loaded(init_text(config, [FOUND])) == config


def test_defaults_are_all_there_as_comments(loaded, tmp_path):
    config = loaded()
    text = init_text(config, [], folder=tmp_path)
    tables = {name: {} for name in Config.model_fields if name not in UNWRITTEN}
    assert tomllib.loads(text) == tables | {"upkeep": {"build_cache": {}, "disk": {}}}
    for name, field in Config.model_fields.items():
        if name not in {*UNWRITTEN, "upkeep"}:
            assert all(f"\n# {key} = " in text for key in field.annotation.model_fields)
    for table in (BuildCacheConfig, DiskConfig):
        assert all(f"\n# {key} = " in text for key in table.model_fields)
    assert loaded(text) == config


def test_the_commented_lines_are_good_settings_too(loaded, tmp_path):
    text = init_text(loaded(), [FOUND], folder=tmp_path)
    lines = [line.removeprefix("# ") if " = " in line and line[0] != "[" else line for line in text.splitlines()]
    config = loaded("\n".join(line for line in lines if not line.startswith("Every key")), {"NAME": "secret"})
    assert config.storage.max_size == 50 << 30
    assert config.repositories["pypi"].password.get_secret_value() == "secret"


def test_an_adopted_upstream_is_written_as_adopt_with_its_source_and_no_secret(loaded, tmp_path):
    text = init_text(loaded(), [FOUND, Skipped("npm", "no client\nis here")], folder=tmp_path)
    config = loaded(text)
    assert config.repositories == {"pypi": RepositoryConfig(package="pypi", base_url="adopt")}
    assert "# Adopted: https://corp.example/simple/\n# Found: PIP_INDEX_URL\n" in text
    assert "# No repository for npm: no client is here\n" in text
    assert "canary" not in text


def test_a_filled_in_repository_goes_back_to_adopt(loaded, tmp_path):
    text = init_text(with_adopted(loaded(), [FOUND]), [FOUND], folder=tmp_path)
    assert loaded(text).repositories["pypi"].base_url == "adopt"
    assert "canary" not in text


def test_plain_secrets_are_not_repeated(loaded):
    config = loaded('[repositories.p]\npackage = "pypi"\nbase_url = "http://up.example/"\npassword = "canary"')
    text = init_text(config, [])
    assert "canary" not in text
    assert '# password = { env = "NAME" }' in text


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), number=st.floats(1e-9, 1e7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_path_and_number_survives(text, number, tmp_path, kinds):
    assume(str(Path(f"/x{text}")) == f"/x{text}")  # else it comes back in its shortest spelling
    base = Config()
    config = base.model_copy(
        update={
            "server": base.server.model_copy(update={"data": tmp_path / "d", "drain_timeout_s": number}),
            "storage": StorageConfig(url=f"file:/x{text}"),
        }
    )
    file = tmp_path / "x.toml"
    file.write_text(init_text(config, []), newline="")
    assert load(file, environ={}, overrides={}, cwd=tmp_path, kinds=kinds) == config


def test_every_upstream_key_can_be_written_for_one_repository(loaded):
    lines = "".join(f"{key} = 7\n" for key in UPSTREAM_KEYS)
    config = loaded(f'[repositories.p]\npackage = "pypi"\nbase_url = "http://up.example/"\n{lines}')
    assert loaded(init_text(config, [])) == config
