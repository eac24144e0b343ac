"""From file, environment and command line to values."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from millpond.config import Config, find, load, open_network_problem
from millpond.config.sources import SYSTEM_FILE
from millpond.errors import ConfigError

PYPI = '[repositories.pypi]\npackage = "pypi"\nbase_url = "https://up.example/simple/"\n'


def test_nothing_at_all_is_a_good_configuration(tmp_path, kinds):
    config = load(None, environ={"PATH": "/bin"}, overrides={}, cwd=tmp_path, kinds=kinds)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.server.data == tmp_path / "millpond-data"
    assert config.storage_path == tmp_path / "millpond-data/storage"
    assert config.repositories == {}


def test_sizes_lists_and_networks_become_values(loaded):
    config = loaded('[storage]\nmax_size = "50GiB"\n[server]\ntrusted_proxies = ["10.0.0.0/8", "::1"]')
    assert config.storage.max_size == 50 << 30
    assert config.server.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(loaded):
    text, environ = "[server]\nport = 1\nworkers = 2\n", {"MILLPOND_SERVER__PORT": "2", "MILLPOND_SERVER__WORKERS": "3"}
    config = loaded(text, environ, {"server.port": 4})
    assert (config.server.port, config.server.workers) == (4, 3)


def test_a_variables_value_is_toml_where_it_is_and_text_where_only_text_can_be_meant(loaded):
    environ = {
        "MILLPOND_REPOSITORIES__PYPI__PASSWORD": "12345",
        "MILLPOND_REPOSITORIES__PYPI__USERNAME": '{ env = "WHO" }',
        "MILLPOND_REPOSITORIES__PYPI__MUTABLE_PATTERNS": "['^a', \"b\"]",
        "MILLPOND_REPOSITORIES__PYPI__MUTABLE_TTL_S": "60",
        "MILLPOND_SERVER__HOST": "::1",
        "MILLPOND_STORAGE__MAX_SIZE": "1GiB",
        "MILLPOND_ACCESS__ALLOW_OPEN_NETWORK": "true",
        "WHO": "me",
        "MILLPOND_PASSWORD": "without two underscores it is no setting",
    }
    config = loaded(PYPI, environ)
    pypi = config.repositories["pypi"]
    assert (pypi.username.get_secret_value(), pypi.password.get_secret_value()) == ("me", "12345")
    assert pypi.mutable_patterns == ("^a", "b")
    assert pypi.mutable_ttl_s == 60
    assert (config.server.host, config.storage.max_size, config.access.allow_open_network) == ("::1", 1 << 30, True)


def test_a_variable_reaches_a_repository_whose_name_no_variable_can_spell(loaded):
    text = '[repositories."My-Files.x"]\npackage = "generic"\ntype = "local"'
    config = loaded(text, {"MILLPOND_REPOSITORIES__MY_FILES_X__MAX_UPLOAD": "1KiB"})
    assert config.repositories["My-Files.x"].max_upload == 1024


def test_a_repository_can_be_made_of_variables_alone(loaded):
    environ = {"MILLPOND_REPOSITORIES__FILES__PACKAGE": "generic", "MILLPOND_REPOSITORIES__FILES__TYPE": "local"}
    assert loaded("", environ).repositories["files"].type == "local"


def test_an_unknown_variable_is_refused_like_an_unknown_key(problems):
    assert problems(PYPI, {"MILLPOND_SERVER__PRT": "1", "MILLPOND_SERVR__PORT": "1"}) == [
        'MILLPOND_SERVER__PRT: [server] prt: unknown key; did you mean "port"?',
        'MILLPOND_SERVR__PORT: [servr]: unknown table; did you mean "server"?',
    ]


def test_a_wrong_value_is_blamed_on_where_it_came_from(problems):
    assert problems("[server]\nworkers = 0", {"MILLPOND_SERVER__PORT": "x"}, {"server.host": "[::1]"}) == [
        (
            "command line: [server] host: not an address to listen on; write an IP address or a host name, such as "
            '"127.0.0.1" or "::"'
        ),
        "MILLPOND_SERVER__PORT: [server] port: must be a whole number, not text",
        "millpond.toml: [server] workers: must be at least 1, not 0",
    ]


def test_a_variable_cannot_smuggle_in_a_second_key(problems):
    assert problems("", {"MILLPOND_SERVER__PORT": "1\nother = 2"}) == [
        "MILLPOND_SERVER__PORT: [server] port: must be a whole number, not text"
    ]


def test_relative_paths_start_at_the_file_and_those_of_the_environment_at_the_working_directory(tmp_path, kinds):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("s3cret\n")
    (tmp_path / "etc/pond.toml").write_text(
        '[server]\ndata = "../var"\n[storage]\nurl = "file:store"\n' + PYPI + 'password = { file = "secret" }'
    )
    path = tmp_path / "etc/pond.toml"
    config = load(path, environ={}, overrides={}, cwd=tmp_path, kinds=kinds)
    assert config.server.data == tmp_path / "etc/../var"
    assert config.storage_path == tmp_path / "etc/store"
    assert config.repositories["pypi"].password.get_secret_value() == "s3cret"
    config = load(path, environ={"MILLPOND_SERVER__DATA": "d"}, overrides={}, cwd=tmp_path, kinds=kinds)
    assert config.server.data == tmp_path / "d"
    config = load(path, environ={}, overrides={"server.data": Path("e")}, cwd=tmp_path, kinds=kinds)
    assert config.server.data == tmp_path / "e"


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path, problems):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    lines = [problems(PYPI + f'password = {{ file = "{name}" }}')[0] for name in ("nofile", "folder", "binary")]
    assert "nofile cannot be read: No such file" in lines[0]
    assert "folder cannot be read: Is a directory" in lines[1]
    assert "binary is not UTF-8 text" in lines[2]


def test_the_named_file_is_taken_else_the_folders_else_the_machines(tmp_path):
    here, named, system = (tmp_path / name for name in ("millpond.toml", "x.toml", "system.toml"))
    assert find(None, tmp_path, system) is None
    system.write_text("")
    assert find(None, tmp_path, system) == system
    here.write_text("")
    assert find(None, tmp_path, system) == here
    assert find(Path("x.toml"), tmp_path, system) == named
    assert str(SYSTEM_FILE) == "/etc/millpond/millpond.toml"


@pytest.mark.parametrize(
    ("make", "said"), [("", "there is no such file"), ("folder", "cannot be read"), ("latin", "UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(make, said, tmp_path, kinds):
    if make == "folder":
        (tmp_path / "x.toml").mkdir()
    elif make:
        (tmp_path / "x.toml").write_bytes(b"a = 1\nb = '\xe4'\n")
    with pytest.raises(ConfigError, match=rf"^x\.toml: .*{said}"):
        load(Path("x.toml"), environ={}, overrides={}, cwd=tmp_path, kinds=kinds)


def test_a_repositorys_own_upstream_keys_win_over_the_common_ones(loaded):
    config = loaded(
        "[upstream]\nread_timeout_s = 5\nmax_redirects = 1\n" + PYPI + "read_timeout_s = 7\nmax_redirects = 0"
    )
    asked = config.upstream_of(config.repositories["pypi"])
    assert (asked.read_timeout_s, asked.max_redirects, asked.connect_timeout_s) == (7, 0, 10)


def test_updates_are_checked_by_default_only_where_the_upstream_is_adopted(loaded):
    adopt = PYPI.replace("https://up.example/simple/", "adopt")
    assert loaded(PYPI).repositories["pypi"].check_mutable_updates is False
    assert loaded(adopt).repositories["pypi"].check_mutable_updates is True
    assert loaded(adopt + "check_mutable_updates = false").repositories["pypi"].check_mutable_updates is False


def test_secrets_never_show(loaded):
    config = loaded(PYPI + 'username = "canary"\npassword = { env = "P" }', {"P": "canary"})
    pypi = config.repositories["pypi"]
    assert "canary" not in repr(config) + str(config) + repr(config.masked()) + config.model_dump_json()
    assert (config.masked()["repositories"]["pypi"]["password"], pypi.password.get_secret_value()) == (
        "********",
        "canary",
    )


def test_the_masked_configuration_is_json_and_says_everything(loaded):
    shown = loaded('[server]\ntrusted_proxies = ["10.0.0.0/8"]\n' + PYPI).masked()
    assert shown["server"]["trusted_proxies"] == ["10.0.0.0/8"]
    assert (
        shown["repositories"]["pypi"] | {"package": "pypi", "type": "remote", "password": None, "found_in": ""}
        == (shown["repositories"]["pypi"])
    )
    assert set(shown) == set(Config.model_fields)


def test_a_configuration_cannot_be_changed(loaded):
    with pytest.raises(ValidationError):
        loaded().server.port = 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_is_open_to_read(host, loaded):
    assert open_network_problem(loaded(f'[server]\nhost = "{host}"')) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "pond.lan"])
def test_off_loopback_reading_is_not_open_by_accident(host, loaded):
    text = f'[server]\nhost = "{host}"\n'
    assert f'host: "{host}" can be reached from the network' in (open_network_problem(loaded(text)) or "")
    assert open_network_problem(loaded(text + '[access]\nanonymous = "none"')) is None
    assert open_network_problem(loaded(text + "[access]\nallow_open_network = true")) is None
