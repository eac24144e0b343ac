"""What is adopted from dnf's repository files."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Pond, Skipped, adopt_rpm
from millpond.adopt.rpm import named

FILE = "etc/yum.repos.d/x.repo"


def found(machine, text: str, *, more=None, **options):
    tools = {"uname": "x86_64\n", "rpm": "9\n"}
    return adopt_rpm(machine({FILE: text, **(more or {})}, run=lambda argv: tools.get(argv[0]), **options))


def bases(adopted) -> dict[str, str]:
    return {one.repository: one.base_url for one in adopted if isinstance(one, Adopted)}


def test_one_repository_for_each_address(machine):
    made = found(
        machine,
        """
[baseos]
baseurl=http://a.example/pub/$releasever/BaseOS/$basearch/os/
[baseos-again]
baseurl=http://a.example/pub/9/BaseOS/x86_64/os
[extras]
baseurl=https://b.example/repos/tools
[other-tools]
baseurl=https://c.example/tools/
[off]
baseurl=https://d.example/x
enabled=0
[fedora]
metalink=https://l.example/metalink?repo=fedora-$releasever&arch=$basearch
[epel]
mirrorlist=https://l.example/mirrorlist?repo=epel-$releasever&arch=$basearch
""",
    )
    assert bases(made) == {
        "baseos": "http://a.example/pub/9/BaseOS/x86_64/os",
        "tools": "https://b.example/repos/tools",
        "tools-2": "https://c.example/tools",
        "fedora": "metalink+https://l.example/metalink?repo=fedora-9&arch=x86_64",
        "epel": "mirrorlist+https://l.example/mirrorlist?repo=epel-9&arch=x86_64",
    }
    assert all(one.package == "rpm" and FILE in one.found_in for one in made)
    assert "[baseos]" in made[0].found_in
    assert "[baseos-again]" in made[0].found_in


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.example/linux/centos/9/x86_64/stable", "own"),
        ("https://x.example/pub/40", "own"),
        ("https://x.example/pub/el9", "own"),
        ("https://x.example/pub/SRPMS/", "own"),
        ("https://x.example", "own"),
        ("metalink+https://x.example/metalink?repo=a", "own"),
        ("https://x.example/Cloud_Tools", "cloud_tools"),
        ("https://x.example/rpm/api", "dnf-api"),
        ("https://x.example/%C3%BC", "c3-bc"),
    ],
)
def test_names(url, name):
    assert named({url: "own"}) == {url: name}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("baseurl=file:///srv/repo", "folder of this machine"),
        ("baseurl=ftp://x.example/os", "not an http"),
        ("mirrorlist=file:///etc/list", "folder of this machine"),
        ("baseurl=http://x.example/os?token=canary", "query"),
        ("baseurl=http://x.example/$unknown/os", "variable"),
        ("name=nothing", "no address"),
    ],
)
def test_what_has_no_upstream_is_told_of(machine, lines, why):
    alone = found(machine, f"[a]\n{lines}\n")
    assert isinstance(alone[0], Skipped)
    assert why in alone[0].reason
    assert "canary" not in alone[0].reason
    beside = found(machine, f"[a]\n{lines}\n[b]\nbaseurl=http://b.example/things\n")
    assert bases(beside) == {"things": "http://b.example/things"}
    assert any(why in note for note in beside[0].notes)


def test_what_the_pond_does_otherwise_is_told_of(machine):
    text = (
        "[a]\nbaseurl=http://a.example/a http://b.example/a\nproxy=http://u:canary@p.example:3128\nsslclientcert=/x\n"
    )
    (one,) = found(machine, text, more={"etc/dnf/dnf.conf": "[main]\nproxy=http://main.example:3128\n"})
    notes = "\n".join(one.notes)
    for told in ("draws from the first", "p.example", "main.example", "certificate"):
        assert told in notes
    assert "canary" not in notes


def test_without_dnf_there_is_nothing(machine):
    assert adopt_rpm(machine({})) == (Skipped("rpm", "there is no dnf, or no repository in its files"),)


def test_credentials(machine):
    text = """
[a]
baseurl=https://me:pass%40word@a.example/a
[b]
baseurl=https://b.example/b
username=you
password=canary, with words
[c]
baseurl=https://c.example/c
"""
    made = found(machine, text)
    assert [(one.username, one.password) for one in made] == [
        ("me", "pass@word"), ("you", "canary, with words"), ("", ""),
    ]  # fmt: skip
    assert "canary" not in repr(made)
    assert bases(made)["a"] == "https://a.example/a"


CONNECTED = """
[a]
baseurl=http://127.0.0.1:8080/a/
[b]
metalink=http://127.0.0.1:8080/b/metalink
[c]
baseurl=http://127.0.0.1:8080/pub/9/os/
"""


def test_files_that_point_at_this_pond_are_what_they_were_before(machine):
    before = "[a]\nbaseurl=http://a.example/a\n[b]\nmetalink=https://l.example/metalink?repo=b\n"
    made = found(machine, CONNECTED, earlier={FILE: before}, pond=Pond.at("127.0.0.1", 8080))
    assert bases(made) == {"a": "http://a.example/a", "b": "metalink+https://l.example/metalink?repo=b"}


def test_files_that_point_at_this_pond_are_never_adopted(machine):
    made = found(machine, CONNECTED, pond=Pond.at("127.0.0.1", 8080))
    assert isinstance(made[0], Skipped)


def test_a_file_that_can_t_be_read_is_told_of(machine, tmp_path):
    made = machine({FILE: ""})
    (tmp_path / FILE).write_bytes(b"\xff")
    (skipped,) = adopt_rpm(made)
    assert isinstance(skipped, Skipped)
    assert "UTF-8" in skipped.reason
