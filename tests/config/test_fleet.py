"""Hosts and their upkeep in the configuration."""

from __future__ import annotations

import pytest

HOST = '[hosts.web1]\nssh = "deploy@web1.lan"\n'


def test_a_host_has_its_own_upkeep_over_the_common_one(loaded):
    config = loaded(
        '[upkeep.build_cache]\nuntil = "7d"\ntimeout_s = 5\n[upkeep.disk]\nimages = false\n'
        + HOST
        + '[hosts.web1.build_cache]\nuntil = "2w"\nenabled = false\n[hosts.web1.disk]\nhigh_percent = 95\n'
    )
    host = config.hosts["web1"]
    pruned, watched = config.build_cache_of(host), config.disk_of(host)
    assert (pruned.until, pruned.enabled, pruned.timeout_s) == ("2w", False, 5)
    assert (watched.high_percent, watched.low_percent, watched.images) == (95, 80, False)
    assert config.upkeep.build_cache.enabled


def test_variables_reach_hosts_and_their_upkeep(loaded):
    config = loaded(
        '[hosts."web-1.lan"]\nssh = "web1"\n',
        {
            "MILLPOND_HOSTS__WEB_1_LAN__MAX_SESSIONS": "2",
            "MILLPOND_HOSTS__WEB_1_LAN__DISK__IMAGES": "false",
            "MILLPOND_UPKEEP__BUILD_CACHE__UNTIL": "48",
            "MILLPOND_UPKEEP__BUILD_CACHE__ENABLED": "no",
            "MILLPOND_NOTIFY__URLS": '[{ env = "HOOK" }]',
            "HOOK": "json://canary",
        },
    )
    host = config.hosts["web-1.lan"]
    assert (host.max_sessions, config.disk_of(host).images) == (2, False)
    assert (config.upkeep.build_cache.until, config.upkeep.build_cache.enabled) == ("48", False)
    assert config.notify.urls[0].get_secret_value() == "json://canary"
    assert "canary" not in repr(config) + repr(config.masked())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[hosts.a]\nlabels = ["x"]\n', "millpond.toml: [hosts.a] ssh: missing; every host needs it"),
        ('[hosts.a]\nssh = "-oProxyCommand=id"\n', "[hosts.a] ssh: not a host's name or address"),
        ('[hosts.a]\nssh = "x"\nlabel = "y"\n', '[hosts.a] label: unknown key; did you mean "labels"?'),
        ('[hosts.a]\nssh = "x"\nlabels = ["a b"]\n', "[hosts.a] labels[0]: a label has letters"),
        ('[hosts.a]\nssh = "x"\ndocker_host = "tcp://x:1"\n', "[hosts.a] docker_host: not an engine's socket"),
        ('[hosts.a]\nssh = "x"\nmax_sessions = 11\n', "[hosts.a] max_sessions: must be at most 10, not 11"),
        (
            '[hosts.a]\nssh = "x"\n[hosts.a.disk]\nhigh_percnt = 5\n',
            '[hosts.a.disk] high_percnt: unknown key; did you mean "high_percent"?',
        ),
        (
            '[hosts.a]\nssh = "x"\n[hosts.a.disk]\nlow_percent = 85\n',
            "[hosts.a.disk] low_percent: low_percent (85) must be less",
        ),
        (
            "[upkeep.disk]\nlow_inodes_percent = 90\n",
            "[upkeep.disk] low_inodes_percent: low_inodes_percent (90) must be less",
        ),
        ("[upkeep.disk]\nhigh_percent = 101\n", "[upkeep.disk] high_percent: must be at most 100, not 101"),
        ('[upkeep.disk]\nbuild_cache_until = "7y"\n', "[upkeep.disk] build_cache_until: '7y' is no age"),
        ("[upkeep.disc]\n", '[upkeep] disc: unknown key; did you mean "disk"?'),
        ('[hosts.pond]\nssh = "x"\n', '[hosts.pond]: "pond" is what the status calls the pond itself'),
        ('[hosts."-x"]\nssh = "x"\n', "[hosts.-x]: a name has letters"),
        ("[hosts]\na = 5\n", "[hosts.a]: must be a table"),
        ('[notify]\nurls = "json://x"\n', "[notify] urls: must be a list"),
        ("[build_cache]\nuntil = 5\n", "[build_cache]: unknown table; known:"),
    ],
)
def test_a_mistake_is_refused_with_its_place(problems, text: str, line: str):
    (told,) = problems(text)
    assert line in told


def test_a_mistake_in_the_pruner_s_table_stops_nothing_and_is_told(loaded):
    config = loaded(
        '[upkeep.build_cache]\ninterval_s = 0\nuntil = "soon"\ntimeout_s = "x"\n'
        "notify_min_gb = -1\nnever = 1\nall = true\n" + HOST + "build_cache = 5\n"
    )
    table = config.upkeep.build_cache
    assert (table.interval_s, table.until, table.timeout_s, table.notify_min_gb, table.all) == (
        21600,
        "24h",
        120,
        0,
        True,
    )
    assert len(config.warnings) == 6
    assert config.warnings[0] == (
        "millpond.toml: [upkeep.build_cache] interval_s: must be more than 0, not 0; it is ignored"
    )
    assert config.warnings[-1].startswith("millpond.toml: [hosts.web1.build_cache]: must be a table, not 5")


def test_a_mistake_in_a_variable_is_blamed_on_it(loaded):
    config = loaded("", {"MILLPOND_UPKEEP__BUILD_CACHE__INTERVAL_S": "-5"})
    assert config.upkeep.build_cache.interval_s == 21600
    assert config.warnings[0].startswith("MILLPOND_UPKEEP__BUILD_CACHE__INTERVAL_S: [upkeep.build_cache] interval_s:")


def test_a_host_s_wrong_setting_leaves_the_common_one(loaded):
    config = loaded('[upkeep.build_cache]\nuntil = "7d"\n' + HOST + '[hosts.web1.build_cache]\nuntil = "x"\n')
    assert config.build_cache_of(config.hosts["web1"]).until == "7d"


def test_files_start_at_the_configuration_s_folder(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = loaded(HOST + 'identity_file = "keys/id"\nknown_hosts = "~/.ssh/known"\n')
    host = config.hosts["web1"]
    assert host.identity_file == str(tmp_path / "keys/id")
    assert host.known_hosts == "/home/someone/.ssh/known"
