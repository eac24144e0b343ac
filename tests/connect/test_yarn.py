"""yarn's files edited: the registry set, all else as it was; and back."""

from __future__ import annotations

import pytest

from millpond import connect
from millpond.errors import Conflict

POND = "http://127.0.0.1:8080"
URL = f"{POND}/npm/"
PUBLIC, PRIVATE = "https://public.example/", "https://corp.example/npm/"
SERVER, HOSTS = f'npmRegistryServer: "{URL}"\n', 'unsafeHttpWhitelist:\n  - "127.0.0.1"\n'
CLASSIC = f'registry "{URL}"\n'


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(tool, home, url=POND, **options):
    return connect.write(tool, url, {}, home, run=lambda _argv: PUBLIC, root=home.parent, repository="npm", **options)


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", SERVER + HOSTS),
        ("nodeLinker: pnp", "nodeLinker: pnp\n" + SERVER + HOSTS),
        (f"npmRegistryServer: {PUBLIC} # mine\n", f'npmRegistryServer: "{URL}" # mine\n{HOSTS}'),
        (f"npmRegistryServer:  '{PUBLIC}'\nx: y\n", f'npmRegistryServer:  "{URL}"\nx: y\n{HOSTS}'),
        (
            "unsafeHttpWhitelist:\n  - a.lan\nx: y\n",
            f'unsafeHttpWhitelist:\n  - a.lan\n  - "127.0.0.1"\nx: y\n{SERVER}',
        ),
        ("unsafeHttpWhitelist:\n- '127.0.0.1'\n", f"unsafeHttpWhitelist:\n- '127.0.0.1'\n{SERVER}"),
        (
            "npmScopes:\n  corp:\n    npmRegistryServer: https://corp.example\n",
            f"npmScopes:\n  corp:\n    npmRegistryServer: https://corp.example\n{SERVER}{HOSTS}",
        ),
    ],
)
def test_the_registry_is_set_and_every_other_line_stays(text, edited, home):
    file = home / ".yarnrc.yml"
    file.write_text(text)
    assert write("yarn", home).changed
    assert file.read_text() == edited
    assert not write("yarn", home).changed
    connect.undo("yarn", {}, home)
    assert file.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "unsafeHttpWhitelist: [a.lan]\n",
        "npmRegistryServer: >-\n  https://public.example/\n",
        f"npmRegistryServer: {PUBLIC}\nnpmRegistryServer: {PUBLIC}\n",
        "npmRegistryServer:\n  https://public.example/\n",
    ],
)
def test_a_form_that_is_not_edited_is_left_to_its_owner(text, home):
    (home / ".yarnrc.yml").write_text(text)
    with pytest.raises(Conflict, match="by hand"):
        write("yarn", home)
    assert (home / ".yarnrc.yml").read_text() == text


def test_over_https_no_host_is_put_on_the_list(home):
    write("yarn", home, "https://pond.example")
    assert (home / ".yarnrc.yml").read_text() == 'npmRegistryServer: "https://pond.example/npm/"\n'


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        (None, CLASSIC),
        ("lastUpdateCheck 1\n", "lastUpdateCheck 1\n" + CLASSIC),
        (f'registry "{PUBLIC}"\nx y\n', CLASSIC + "x y\n"),
        (f"registry {PUBLIC}\n", CLASSIC),
    ],
)
def test_the_classic_file(text, edited, home):
    file = home / ".yarnrc"
    if text is not None:
        file.write_text(text)
    assert write("yarn1", home).changed
    assert file.read_text() == edited
    assert not write("yarn1", home).changed
    connect.undo("yarn1", {}, home)
    assert (file.read_text() if file.exists() else None) == text


@pytest.mark.parametrize(
    ("tool", "file", "text"),
    [
        ("yarn", ".yarnrc.yml", f"npmRegistryServer: {PRIVATE}\n"),
        ("yarn1", ".yarnrc", f'registry "{PRIVATE}"\n'),
        ("yarn1", ".npmrc", f"registry={PRIVATE}\n"),
    ],
)
def test_a_private_registry_is_replaced_only_by_a_pond_that_draws_from_it(tool, file, text, home):
    (home / file).write_text(text)
    with pytest.raises(Conflict, match=r"corp\.example"):
        write(tool, home)
    assert write(tool, home, upstreams=[PRIVATE]).changed


def test_what_still_leads_past_the_pond_is_told(home):
    (home / ".yarnrc.yml").write_text("npmScopes:\n  corp:\n    npmRegistryServer: https://corp.example\n")
    assert [note for note in write("yarn", home).notes if "npmScopes" in note]


def test_the_settings_are_printed(home):
    plan = connect.plan("yarn", POND, {}, home, repository="npm")
    assert (plan.url, plan.text) == (URL, SERVER + HOSTS)
    assert plan.command == f"YARN_NPM_REGISTRY_SERVER={URL} YARN_UNSAFE_HTTP_WHITELIST=127.0.0.1 yarn add"
    assert connect.plan("yarn1", POND, {}, home, repository="npm").text == CLASSIC
