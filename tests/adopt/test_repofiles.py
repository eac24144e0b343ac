"""dnf's files: sections, values and their places, variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.adopt import repofiles
from millpond.adopt.repofiles import Variables, files, main_section, origin, parse, sections
from millpond.errors import ConfigError

FILE = Path("x.repo")
TEXT = """# a comment
[base]
name = Base $releasever
baseurl = http://a.example/os/,
          http://b.example/os/ http://c.example/os/
; another
enabled=1

[more]
metalink=https://l.example/metalink?repo=f-$releasever&arch=$basearch
mirrorlist = https://l.example/list
  # no comment to dnf either
enabled = False
"""


def only(text: str) -> repofiles.Section:
    (section,) = parse(FILE, text)
    return section


def test_sections_and_where_their_values_stand():
    base, more = parse(FILE, TEXT)
    words = base.words("baseurl")
    assert [word.text for word in words] == ["http://a.example/os/", "http://b.example/os/", "http://c.example/os/"]
    assert [TEXT[word.start : word.end] for word in words] == [word.text for word in words]
    assert (base.name, base.enabled, base.value("name")) == ("base", True, "Base $releasever")
    (link,) = more.whole("metalink")
    assert TEXT[link.start : link.end] == link.text == "https://l.example/metalink?repo=f-$releasever&arch=$basearch"
    assert not more.enabled
    assert TEXT[more.at["mirrorlist"] :].startswith("mirrorlist = ")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]abc=\n\r \t#;$,x:/é", max_size=80))
def test_any_text_is_read_and_places_are_right(text):
    for section in parse(FILE, text):
        for name in section.lines:
            for word in section.words(name):
                assert text[word.start : word.end] == word.text


def test_variables(machine):
    tools = {"uname": "armv7l\n", "rpm": "9.3\n"}
    made = Variables(machine({"etc/dnf/vars/stream": "9-stream\n"}, run=lambda argv: tools[argv[0]]))
    text = "$releasever/${releasever_major}/$releasever_minor/$arch/${basearch}/$stream"
    assert made.filled(text) == "9.3/9/3/armv7l/armhfp/9-stream"
    assert made.filled("$unknown") is None
    assert made.filled("no variable") == "no variable"


def test_where_the_release_comes_from(machine):
    release = {"etc/os-release": 'ID=fedora\nVERSION_ID="40"\n'}
    assert Variables(machine(release, run=lambda _: None)).filled("$releasever") == "40"
    assert Variables(machine(release, run=lambda _: "no package provides it\n")).filled("$releasever") == "40"
    own = {**release, "etc/dnf/vars/releasever": "8\n"}
    assert Variables(machine(own, run=lambda _: "9\n")).filled("$releasever") == "8"


def test_without_a_release_a_variable_is_not_known(machine):
    assert Variables(machine({}, run=lambda _: None)).filled("x/$releasever") is None


@pytest.mark.parametrize(
    ("lines", "option", "url", "others"),
    [
        ("baseurl=http://a.example/ http://b.example/", "baseurl", "http://a.example/", 1),
        ("metalink=https://l.example/m?a=b,c", "metalink", "metalink+https://l.example/m?a=b,c", 0),
        ("mirrorlist=https://l.example/list", "mirrorlist", "mirrorlist+https://l.example/list", 0),
        ("mirrorlist=https://l.example/metalink?x", "mirrorlist", "metalink+https://l.example/metalink?x", 0),
        ("metalink=https://l.example/m\nbaseurl=http://a.example/", "baseurl", "http://a.example/", 0),
        (
            "metalink=https://l.example/m\nmirrorlist=https://l.example/list",
            "metalink",
            "metalink+https://l.example/m",
            0,
        ),
    ],
)
def test_where_a_section_has_its_packages_from(machine, lines, option, url, others):
    found = origin(only(f"[a]\n{lines}\n"), Variables(machine({})))
    assert found is not None
    assert (found.option, found.url, found.others) == (option, url, others)


def test_a_section_without_an_address(machine):
    for lines in ("name=x", "baseurl=", "baseurl=http://$nothing/", "metalink=", "media_id=1"):
        assert origin(only(f"[a]\n{lines}\n"), Variables(machine({}))) is None


def test_the_folders_of_dnf_and_those_of_its_configuration(machine):
    text = "[a]\nbaseurl=http://a.example/\n"
    here = {"etc/yum.repos.d/b.repo": text, "etc/yum.repos.d/a.repo": text, "etc/yum.repos.d/c.txt": text}
    made = machine(here)
    assert [file.name for file in files(made)] == ["a.repo", "b.repo"]
    assert [one.name for one in sections(made)] == ["a", "a"]
    other = machine({**here, "etc/dnf/dnf.conf": "[main]\nreposdir=/srv/repos /etc/more\n", "srv/repos/x.repo": text})
    assert [file.name for file in files(other)] == ["x.repo"]
    assert main_section(other).value("reposdir") == "/srv/repos /etc/more"


def test_a_file_that_can_t_be_read_is_named(machine, tmp_path):
    made = machine({"etc/yum.repos.d/a.repo": "[a]\n"})
    (tmp_path / "etc/yum.repos.d/a.repo").write_bytes(b"[a]\nname=\xff\n")
    with pytest.raises(ConfigError, match=r"a\.repo.*UTF-8"):
        list(sections(made))
