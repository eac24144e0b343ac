"""HTML pages: rewritten, read, and told apart from other pages."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypi_simple import DistributionPackage, ProjectPage

from millpond.artifacts.formats.pypi.htmlpage import Rewriter, listed
from millpond.artifacts.formats.pypi.names import is_distribution
from millpond.artifacts.model import Checksum, Links, Member

from .pages import HTML, META, ROOT_HTML, ROOT_SOURCE, SDIST, SHA, SOURCE, WHEEL

MOUNT = "http://pond.example/pypi"
MIB = 1 << 20


def rewritten(page: bytes, *, project: str = "foo-bar", source: str = SOURCE, mount: str = MOUNT) -> str:
    rewriter = Rewriter(project, Links(mount, source))
    return (rewriter.feed(page) + rewriter.close()).decode()


def anchors(page: str) -> list[str]:
    return [line.partition('"')[0] for line in page.split('<a href="')[1:]]


def index(body: str) -> bytes:
    return f"<h1>Links for foo-bar</h1>{body}".encode()


def packages(page: str | bytes, base: str) -> list[DistributionPackage]:
    text = page if isinstance(page, str) else page.decode()
    return ProjectPage.from_html("foo-bar", text, base_url=base).packages


def test_a_page_reads_the_same_but_for_its_links():
    before = [one for one in packages(HTML, SOURCE) if is_distribution(one.filename)]
    after = packages(rewritten(HTML), f"{MOUNT}/simple/foo-bar/")
    assert len(after) == 3
    for was, now in zip(before, after, strict=True):
        assert now.url == f"{MOUNT}/files/foo-bar/{was.filename}"
        assert replace_url(was) == replace_url(now)
    assert after[0].digests == {"sha256": SHA}
    assert after[0].requires_python == ">=3.8,<4"
    assert after[0].metadata_digests == {"sha256": META}
    assert (after[1].is_yanked, after[1].yanked_reason, after[1].has_sig) == (True, 'say "no"', True)


def replace_url(package: DistributionPackage) -> DistributionPackage:
    return replace(package, url="", provenance_url=None)


def test_only_what_was_written_here_is_handed_on():
    page = rewritten(HTML)
    assert "example" not in page.replace(MOUNT, "")
    assert "SERIAL" not in page
    assert "onload" not in page
    assert "script" not in page
    assert 'name="pypi:repository-version" content="1.1"' in page
    assert 'data-upload-time="2024-01-02T03:04:05Z"' in page
    assert "1 &lt; 2 &amp; 3 &gt; 2" in page
    assert len(anchors(page)) == page.count("</a>") == 3


@pytest.mark.parametrize(
    "anchor",
    [
        "<a href='x.whl'>",
        '<A HREF="x.whl">',
        "<a href=x.whl>",
        "<a\nhref = x.whl >",
        '<a rel="internal" href="./x.whl">',
    ],
)
def test_an_anchor_is_an_anchor_however_it_is_written(anchor: str):
    assert anchors(rewritten(index(anchor))) == [f"{MOUNT}/files/foo-bar/x.whl"]


@pytest.mark.parametrize(
    "link",
    ["https://f.example/", "help.html", "../", "javascript:x.whl", "https://f.example/x.txt", "#x.whl", "?C=N;O=D",
     "data:x/x.whl", "http://[x.whl", "https://f.example/.whl", "https://f.example/a%2fb%00.whl", ""],
)  # fmt: skip
def test_a_link_to_no_file_loses_its_anchor_and_keeps_its_text(link: str):
    page = rewritten(index(f"1<a href='{link}'>2</a>3"))
    assert page == "<h1>Links for foo-bar</h1>123"


@pytest.mark.parametrize(
    ("fragment", "kept"),
    [
        ("#sha256=ab", "#sha256=ab"),
        ("#sha256=ab&amp;egg=foo", "#sha256=ab&amp;egg=foo"),
        ("#&lt;b&gt;", ""),
        ("#" + "a" * 2000, ""),
        ("", ""),
    ],
)
def test_a_plain_fragment_is_kept(fragment: str, kept: str):
    assert anchors(rewritten(index(f'<a href="x.whl{fragment}">x</a>'))) == [f"{MOUNT}/files/foo-bar/x.whl{kept}"]


def test_an_anchor_ends_where_the_next_begins():
    page = rewritten(index("<a href=x.whl>x<a href=y.whl>y</a></a><a href=help>z</a>"))
    assert page.count("</a>") == 2
    assert page.index("</a>") < page.index("y.whl")


def test_a_query_is_no_part_of_the_ponds_links():
    assert anchors(rewritten(index('<a href="x.whl?token=1#md5=ab">x</a>'))) == [f"{MOUNT}/files/foo-bar/x.whl#md5=ab"]


def test_a_base_changes_where_links_come_from():
    page = index(
        '<base href="https://files.example/p/"><a href="x.whl">x</a><base href="javascript:"><a href="y.whl">y</a>'
    )
    assert [one.member.url for one in listed(SOURCE, [page])] == [
        "https://files.example/p/x.whl",
        "https://files.example/p/y.whl",
    ]
    assert "base" not in rewritten(page)


def test_a_mount_is_escaped():
    assert '"http://h/?a=1&amp;b/files/' in rewritten(index("<a href=x.whl>"), mount="http://h/?a=1&b")


def test_the_root_index_links_to_the_ponds_own_pages():
    page = rewritten(ROOT_HTML, project="", source=ROOT_SOURCE)
    assert anchors(page) == [f"{MOUNT}/simple/{name}/" for name in ("foo-bar", "zope-interface", "six")]
    assert "log in" in page


def test_files_are_read_with_all_that_a_page_tells():
    first, second, third = listed(SOURCE, [HTML])
    url = f"https://files.example/packages/ab/{WHEEL}"
    assert first.member == Member(WHEEL, url, (Checksum("sha256", SHA),), None, 1704164645.0)
    assert (first.metadata, first.signed) == ((Checksum("sha256", META),), False)
    assert second.member.url == f"https://index.example/packages/cd/{SDIST}"
    assert (second.metadata, second.signed) == (None, True)
    assert third.member.url == "https://files.example/packages/foo-bar-0.9.zip?sig=1&region=eu"


@pytest.mark.parametrize(
    ("attribute", "metadata"),
    [
        ("data-core-metadata=true", ()),
        ("data-core-metadata", ()),
        ("data-core-metadata=sha256=ABcd", (Checksum("sha256", "abcd"),)),
        ("data-core-metadata=false data-dist-info-metadata=true", None),
        ("data-dist-info-metadata=md5=ab", (Checksum("md5", "ab"),)),
        ("", None),
    ],
)
def test_the_newer_metadata_attribute_counts(attribute: str, metadata: tuple[Checksum, ...] | None):
    [one] = listed(SOURCE, [index(f"<a href=x.whl {attribute}>x</a>")])
    assert one.metadata == metadata


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in</body></html>",
        b"<html><body><form action=/login><input name=user></form></body></html>",
        b"<html><body><a href='https://portal.example/agent.exe'>get it</a><form></form></body></html>",
        b"<html><head><meta http-equiv=Refresh content='0;url=https://portal.example/'></head></html>",
        b"<html><body><script src=x></script><a href=x.whl>x</a></body></html>",
        b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        b"<p>",
    ],
)
def test_another_page_is_no_index(page: bytes):
    with pytest.raises(ValueError, match="does not say that it is an index"):
        rewritten(page)
    with pytest.raises(ValueError, match="does not say that it is an index"):
        list(listed(SOURCE, [page]))


@pytest.mark.parametrize(
    "page",
    [
        b"<a href=x.whl>x</a>",
        b"<title>Links for foo-bar</title><h1>Links for foo-bar</h1>",
        b"<html><head><title>Index of /foo</title></head><body><a href=../>up</a></body></html>",
        b'<meta name="pypi:repository-version" content="1.0">',
        b"<title>Simple Index</title><script></script><a href=x.whl>x</a>",
    ],
)
def test_an_index_may_be_bare_or_empty(page: bytes):
    rewritten(page)
    list(listed(SOURCE, [page]))


@pytest.mark.parametrize(
    ("tag", "kept"),
    [
        ('<meta charset="utf-8">', '<meta charset="utf-8">'),
        ('<meta http-equiv="Content-Type" content="text/html; charset=latin-1">', "charset=latin-1"),
        ('<meta name="api-version" value="2">', '<meta name="api-version" content="">'),
        ('<meta http-equiv="refresh" content="0;url=https://f.example/">', ""),
        ('<meta name="generator" content="x">', ""),
    ],
)  # fmt: skip
def test_of_meta_tags_the_version_and_the_character_set_go_on(tag: str, kept: str):
    page = rewritten(index(tag)).removeprefix("<h1>Links for foo-bar</h1>")
    assert kept in page
    assert bool(kept) == bool(page)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,12}\.(whl|tar\.gz|zip)", fullmatch=True)
LINES = st.tuples(NAMES, TEXT, TEXT, st.sampled_from(['"', "'"]), st.booleans())


@pytest.mark.heavy
@settings(deadline=None)
@given(st.lists(LINES, max_size=6), st.integers(1, 40))
def test_any_page_keeps_its_files_and_what_is_said_of_them(lines: list[tuple[str, str, str, str, bool]], size: int):
    page = index("".join(_line(*line) for line in lines))
    whole = rewritten(page)
    rewriter = Rewriter("foo-bar", Links(MOUNT, SOURCE))
    pieces = [rewriter.feed(page[at : at + size]) for at in range(0, len(page), size)]
    assert b"".join([*pieces, rewriter.close()]).decode() == whole
    after = list(listed(f"{MOUNT}/simple/foo-bar/", [whole.encode()]))
    assert [one.member.name for one in after] == [name for name, *_ in lines]
    assert all(one.member.url.startswith(f"{MOUNT}/files/foo-bar/") for one in after)
    assert [one.member.checksums for one in after] == [(Checksum("sha256", SHA),) for _ in lines]
    for (_, python, yanked, _, _), tag in zip(lines, packages(whole, MOUNT), strict=True):
        assert (tag.requires_python or "") == python
        assert (tag.yanked_reason or "") == yanked


def _line(name: str, python: str, yanked: str, quote: str, upper: bool) -> str:
    values = {
        "href": f"/p/{name.replace('+', '%2B')}#sha256={SHA}",
        "data-requires-python": python,
        "data-yanked": yanked,
    }
    tag = " ".join(f"{key}={quote}{escape(value)}{quote}" for key, value in values.items())
    return f"<A {tag.replace('data-', 'DATA-')}>{name}</A>\n" if upper else f"<a {tag}>{name}</a><br>"


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_page():
    rewriter = Rewriter("foo-bar", Links(MOUNT, SOURCE))
    tracemalloc.start()
    try:
        for chunk in _long_page(MIB):
            rewriter.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rewriter.close()
    assert peak < MIB // 2


def _long_page(size: int) -> Iterable[bytes]:
    line = (
        f'<a href="https://files.example/p/{WHEEL}#sha256={SHA}" data-requires-python="&gt;=3.8">{WHEEL}</a>\n'.encode()
    )
    chunk = line * 200
    return (chunk for _ in range(size // len(chunk)))
