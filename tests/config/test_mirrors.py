"""Repositories that stand for a registry, and the listener that is bound to one of them."""

from __future__ import annotations

import pytest

from millpond.app.sourcing import load
from millpond.config import open_network_problem
from millpond.errors import ConfigError

HUB = '[repositories.NAME]\npackage = "docker"\nbase_url = "https://up.example"\nmirror_of = "docker.io"\n'
LISTEN = '[server]\nmirror_listen = "127.0.0.1:8081"\n'


@pytest.fixture
def read(tmp_path):
    def make(text: str):
        file = tmp_path / "millpond.toml"
        file.write_text(text)
        return load(file, {}, {}, tmp_path)

    return make


def problem(read, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_one_repository_and_one_listener(read):
    config = read(LISTEN + HUB.replace("NAME", "hub"))
    assert config.server.mirror_listen == "127.0.0.1:8081"
    assert config.repositories["hub"].mirror_of == "docker.io"


def test_an_adopted_one_stands_for_docker_hub(read):
    config = read(LISTEN + '[repositories.hub]\npackage = "docker"\nbase_url = "adopt"\n')
    assert config.repositories["hub"].mirror_of == "docker.io"


def test_without_repositories_they_are_adopted(read):
    assert read(LISTEN).server.mirror_listen


def test_a_listener_without_a_repository_is_refused(read):
    text = problem(read, LISTEN + '[repositories.f]\npackage = "generic"\ntype = "local"\n')
    assert 'mirror_of = "docker.io"' in text
    assert "[server] mirror_listen" in text


def test_two_repositories_for_one_registry_are_refused(read):
    text = problem(read, LISTEN + HUB.replace("NAME", "one") + HUB.replace("NAME", "two"))
    assert "[repositories.two] mirror_of" in text
    assert "[repositories.one]" in text


def test_only_a_docker_repository_stands_for_a_registry(read):
    text = problem(read, HUB.replace("NAME", "x").replace('"docker"', '"pypi"'))
    assert "[repositories.x] mirror_of" in text


@pytest.mark.parametrize("listen", ["8081", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "a b:1", ":8081"])
def test_what_is_no_place_to_listen_on(read, listen):
    hub = HUB.replace("NAME", "hub")
    assert "mirror_listen" in problem(read, f'[server]\nmirror_listen = "{listen}"\n{hub}')


def test_both_listeners_can_not_have_one_port(read):
    hub = HUB.replace("NAME", "hub")
    assert "port" in problem(read, f'[server]\nport = 9000\nmirror_listen = "127.0.0.2:9000"\n{hub}')


@pytest.mark.parametrize("host", ["docker.io/x", "https://docker.io", "Docker.io", "a b"])
def test_what_is_no_registrys_name(read, host):
    assert "mirror_of" in problem(read, HUB.replace("NAME", "x").replace("docker.io", host))


def test_it_is_held_to_the_same_rule_as_the_ponds_own_address(read):
    config = read('[server]\nmirror_listen = "0.0.0.0:8081"\n' + HUB.replace("NAME", "hub"))
    assert "mirror_listen" in (open_network_problem(config) or "")
