"""Apps in the configuration."""

from __future__ import annotations

import pytest

HOSTS = (
    '[server]\npublic_url = "http://pond.lan:8080"\n[hosts.web1]\nssh = "deploy@web1.lan"\nlabels = ["web", "db"]\n'
    '[hosts.web2]\nssh = "deploy@web2.lan"\nlabels = ["web"]\n'
)
APP = '[apps.shop]\npath = "shop"\nhosts = ["web"]\n'


def test_an_app_s_folder_starts_at_the_configuration_s(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = loaded(
        HOSTS + APP + '[apps.there]\npath = "/srv/shop"\non = "web1"\nhosts = ["web1"]\n'
        '[apps.home]\npath = "~/shop"\nhosts = ["web1"]\n'
    )
    paths = {name: app.path for name, app in config.apps.items()}
    assert paths == {"shop": str(tmp_path / "shop"), "there": "/srv/shop", "home": "/home/someone/shop"}


def test_variables_reach_apps(loaded):
    config = loaded(
        HOSTS + '[apps.my-shop]\npath = "shop"\nhosts = ["web"]\n',
        {
            "MILLPOND_APPS__MY_SHOP__PULL": "direct",
            "MILLPOND_APPS__MY_SHOP__HOSTS": '["web2"]',
            "MILLPOND_APPS__MY_SHOP__HEALTH__TIMEOUT_S": "5",
            "MILLPOND_APPS__MY_SHOP__FILES": '["a.yml"]',
        },
    )
    app = config.apps["my-shop"]
    assert (app.pull, app.hosts, app.health.timeout_s, app.files) == ("direct", ("web2",), 5, ("a.yml",))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[apps.a]\nhosts = ["web"]\n', "[apps.a] path: missing; every app needs it"),
        ('[apps.a]\npath = "x"\n', "[apps.a] hosts: missing; every app needs it"),
        ('[apps.a]\npath = "x"\nhosts = []\n', "[apps.a] hosts: empty; name the hosts"),
        ('[apps.a]\npath = ""\nhosts = ["web"]\n', "[apps.a] path: empty"),
        (
            '[apps.a]\npath = "x"\nhosts = ["wbe1"]\n',
            '[apps.a] hosts: "wbe1" is no host and no label of one; did you mean "web1"?',
        ),
        (
            '[apps.a]\npath = "/x"\nhosts = ["web"]\non = "wbe1"\n',
            '[apps.a] on: "wbe1" is no host; did you mean "web1"?',
        ),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\non = "web1"\n', "[apps.a] path: must be absolute, since"),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\nkind = "compos"\n',
            '[apps.a] kind: "compos" is not one of its values; did you mean "compose"?',
        ),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\npull = 5\n',
            "[apps.a] pull: must be one of pond, direct, not a number",
        ),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\npond = "-x"\n', "[apps.a] pond: not the address of a registry"),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\npond = "pond"\n', "[apps.a] pond: not the address of a registry"),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\npond = "p:1"\npull = "direct"\n',
            "[apps.a] pond: its hosts pull directly",
        ),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\nkind = "swarm"\nprofiles = ["x"]\n',
            "[apps.a] profiles: a stack has no profiles",
        ),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\nprofiles = ["--x"]\n', "[apps.a] profiles[0]: a profile has letters"),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\nfiles = [""]\n', "[apps.a] files[0]: empty"),
        ('[apps.a]\npath = "x"\nhosts = ["web"]\nkeep = 1\n', "[apps.a] keep: must be at least 2, not 1"),
        ('[apps.A]\npath = "x"\nhosts = ["web"]\n', "[apps.A]: a name has lower-case letters"),
        ('[apps."-a"]\npath = "x"\nhosts = ["web"]\n', "[apps.-a]: a name has lower-case letters"),
        (f'[apps.{"a" * 41}]\npath = "x"\nhosts = ["web"]\n', "at most 40 of them"),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\n[apps.a.health]\nurls = "x"\n',
            '[apps.a.health] urls: unknown key; did you mean "url"?',
        ),
        (
            '[apps.a]\npath = "x"\nhosts = ["web"]\n[apps.a.health]\nurl = "ftp://x"\n',
            "[apps.a.health] url: not an http or https URL",
        ),
        ("[apps]\na = 5\n", "[apps.a]: must be a table"),
    ],
)
def test_a_mistake_is_refused_with_its_place(problems, text: str, line: str):
    (told,) = problems(HOSTS + text)
    assert line in told


@pytest.mark.parametrize("server", ["", '[server]\npublic_url = "http://pond.lan/below"\n', "[server]\nport = 0\n"])
def test_hosts_that_cannot_know_the_pond_are_refused(problems, loaded, server: str):
    text = server + '[hosts.web1]\nssh = "web1"\n[apps.a]\npath = "x"\nhosts = ["web1"]\n'
    (told,) = problems(text)
    assert "[apps.a] pond: missing; write host:port" in told
    assert loaded(text + 'pull = "direct"\n').apps["a"].pond == ""
    assert loaded(text + 'pond = "pond.lan:80"\n').apps["a"].pond == "pond.lan:80"
