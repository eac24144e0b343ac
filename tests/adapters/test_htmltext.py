"""HTML as text: what people write, and what is written to hold the event loop."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millpond.adapters.htmltext import text_of

LONG = 500_000
GUARD_S = 5.0
"""Far above what a pass over the text takes, and far below what a pass for each character of it would."""


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a<br>/reject</p><ul><li>b</li></ul>c", "a\n/reject\n\n- b\n\nc"),
        ("<ul><li><p>/approve</p><ol><li>a<li>b</ol></ul>c", "- /approve\n\n- a\n- b\n\nc"),
        ("<li>a</ul>b</li>c", "- a\nb\nc"),
        ("<p><s>/approve</s></p><del>a</del>", "~~/approve~~\n~~a~~"),
        ("<p>~~~</p><p>/reject</p><p><code>``</code></p>", "\\~~~\n\n/reject\n\n\\````"),
        ("<P CLASS='x'>a</P\n><p>b\nc</p>", "a\n\nb c"),
        ("1 &lt; 2 &amp; 3 &eacute;&#233;&#xe9;&nbsp;x", "1 < 2 & 3 ééé\xa0x"),
        ("&ampx &unknown; &#99999999; &#xfffffff; &# &", "&x &unknown; &#99999999; &#xfffffff; &# &"),
        ("<b title='a > b' data-x = \"c>d\">x</b>", "x"),
        ("<b title=it's>x</b> it's", "x it's"),
        ("a<script>/approve</script ><STYLE>p > a</STYLE>b<script src=x />c", "abc"),
        ("a<script>/approve", "a"),
        ("a<!-- > /approve -->b<!doctype html><?php x?></>c", "abc"),
        ("a < b <3 <- c", "a < b <3 <- c"),
        ("a <b and c", "a <b and c"),
        ("a <!-- b", "a <!-- b"),
        ("see <![ here", "see <![ here"),
        ("see <![ here <![CDATA[x]]>", "see"),
        ("<", "<"),
        ("<blockquote><p>/approve</p><p>a</p></blockquote><p>b</p>", "> /approve\n\n> a\n\nb"),
        ("<blockquote>a<blockquote>b</blockquote>c</blockquote></blockquote>d", "> a\n> b\n> c\n\nd"),
        ("<pre><code class='x'>/approve</code></pre>b", "    /approve\nb"),
        ("<pre>if x:\n    y &amp;\n</pre>b\nc", "    if x:\n        y &\n\nb c"),
        ("<blockquote><pre>a\n/approve</pre>", ">     a\n>     /approve"),
        ("<blockquote>so<pre>/approve", "> so\n>     /approve"),
        ("<p><code>/approve</code></p>say <code>x</code>", "`/approve`\nsay `x`"),
        ("a<p>1<br>&gt; 2", "a\n1\n> 2"),
        ("<p><s>so:<br>/approve<br>no</s></p>", "~~so:~~\n~~/approve~~\n~~no~~"),
        ("<p><code>so:<br>/approve<br>", "`so:`\n`/approve`"),
        ("<del><p>/approve</p></del>b", "~~/approve~~\nb"),
        ("<s>a<del>b</s>c</del>d</s>e", "~~abc~~de"),
        ("<del>old</s><br>/approve</del>", "~~old~~\n~~/approve~~"),
        ("<s>a</s><s>b</s> <code>a</code>`", "~~ab~~ `a``"),
        ("<s>a<code>b<br>c</s>d</code>", "~~a`b`~~\n`~~c~~d`"),
        ("<s>a<pre>b\nc</pre>d</s>e", "~~a~~\n    b\n    c\n~~d~~e"),
        ("<s>\ud801/approve\ud801\ud800</s>", "~~/approve~~"),
        ("<p><mention-component id='b'></mention-component> /approve</p>", "@ /approve"),
        ("<p>/approve <img src=x></p><image-component src=y />/approve", "/approve [img]\n[image-component]/approve"),
    ],
)  # fmt: skip
def test_what_is_shown(markup: str, text: str):
    assert text_of(markup) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<!--",
        "<![",
        "<?",
        "</",
        "<",
        "<a b='\"",
        '<a ="',
        "<a =",
        "= ",
        "<p>",
        "<script>",
        "</script ",
        "&",
        "&#1",
    ],
)
@pytest.mark.parametrize("begin", ["", "<a ", "<script>"])
@pytest.mark.parametrize("end", ["", ">", "'>"])
def test_no_text_takes_more_than_a_pass(begin: str, piece: str, end: str):
    at = time.process_time()
    text_of(begin + piece * (LONG // len(piece)) + end)
    assert time.process_time() - at < GUARD_S


_MARKUP = st.lists(
    st.sampled_from(
        ["<", ">", "</", "<!--", "-->", "<![", "<?", "<p>", "</p>", "<pre>", "</pre>", "<script", "</script"]
    )
    | st.sampled_from(["=", "'", '"', "&", "&#", "&#x", "&amp", ";", "\n", " ", "/", "a", "9"])
    | st.text(max_size=3),
    max_size=40,
).map("".join)


@given(_MARKUP)
@example("&#" + "1" * 5000 + ";")
@example("&#xd800;&#0;&#x110000;&#1;")
def test_any_text_gives_a_text(markup: str):
    assert isinstance(text_of(markup), str)


@given(st.text().map(lambda text: "".join(one for one in text if one not in "<&\n").strip()))
def test_a_line_without_markup_stays_as_it_is(text: str):
    assert text_of(text) == text


@given(st.text().map(lambda text: text.replace("\n", " ").strip()))
def test_what_is_escaped_reads_the_same(text: str):
    assert text_of(text.replace("&", "&amp;").replace("<", "&lt;")) == text
