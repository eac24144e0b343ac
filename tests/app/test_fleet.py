"""From the configuration to the apps' own options."""

from __future__ import annotations

import pytest

from millpond.app.fleet import app_options
from millpond.config import AppConfig, Config, HealthConfig, HostConfig, ServerConfig
from millpond.errors import NotFound
from millpond.hosts.apps import Health

HOSTS = {
    "db": HostConfig(ssh="db.lan", labels=("eu",)),
    "web1": HostConfig(ssh="web1.lan", labels=("web", "eu")),
    "web2": HostConfig(ssh="web2.lan", labels=("web", "db")),
    "here": HostConfig(ssh="local"),
}


def options(public_url="http://pond.lan:8080", **app):
    server = ServerConfig(public_url=public_url, port=8181)
    table = AppConfig(**{"path": "/srv/shop", "hosts": ("web1",)} | app)
    return app_options("shop", Config(server=server, hosts=HOSTS, apps={"shop": table}))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("web",), ("web1", "web2")),
        (("web2", "web"), ("web2", "web1")),
        (("eu", "web2"), ("db", "web1", "web2")),
        (("db",), ("db",)),
    ],
)
def test_labels_are_resolved_in_order_each_host_once_and_a_name_before_a_label(wanted, found):
    assert options(hosts=wanted).hosts == found


@pytest.mark.parametrize(
    ("public_url", "app", "found"),
    [
        ("http://pond.lan:8080", {}, "pond.lan:8080"),
        ("https://pond.lan", {}, "pond.lan:443"),
        ("http://pond.lan/", {}, "pond.lan:80"),
        ("http://[fd00::1]:8080", {}, "[fd00::1]:8080"),
        ("http://[fd00::1]", {}, "[fd00::1]:80"),
        ("http://pond.lan:8080", {"pond": "10.0.0.1:5000"}, "10.0.0.1:5000"),
        ("http://pond.lan:8080", {"pull": "direct"}, ""),
        ("", {"hosts": ("here",)}, "127.0.0.1:8181"),
    ],
)
def test_hosts_are_told_where_the_pond_is(public_url, app, found):
    assert options(public_url, **app).pond == found


def test_the_rest_is_handed_on():
    made = options(on="db", env_file="x.env", keep=7, parallel=2, health=HealthConfig(command=("true",), timeout_s=3))
    assert (made.name, made.path, made.on, made.env_file, made.keep, made.parallel) == (
        "shop", "/srv/shop", "db", "x.env", 7, 2,
    )  # fmt: skip
    assert made.health == Health(command=("true",), timeout_s=3)


def test_an_unknown_app_is_told_with_those_that_there_are():
    with pytest.raises(NotFound, match="known: shop"):
        app_options("shp", Config(hosts=HOSTS, apps={"shop": AppConfig(path="/x", hosts=("web1",))}))
