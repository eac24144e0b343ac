"""HTML as plain text, read in one pass. Pure; never raises, and never looks at a character again and again.

What others write is read here, on the event loop. The parser of the standard library takes minutes for some 200 KB,
and raises for others. Here a text is gone through from left to right, and what is nowhere ahead (a ``>``, a ``-->``) is
not looked for again. What turns out to be no markup is text, so that nobody hides words behind a tag that never ends.
"""

from __future__ import annotations

import html
import re

BLOCKS = frozenset({"p", "br", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "tr"})
HIDDEN = frozenset({"script", "style"})
_BEGIN = re.compile(r"<[a-zA-Z/!?]")
_TAG = re.compile(r"</?([a-zA-Z][^\s/>]{0,63})")
_END = re.compile(r">|=\s*([\"'])")
"""A tag's end, or the beginning of a value in which a ``>`` ends nothing."""
_HIDDEN_END = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in HIDDEN}
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}(?![0-9])|#[xX][0-9a-fA-F]{1,6}(?![0-9a-fA-F])|[a-zA-Z][a-zA-Z0-9]{1,31});?")
"""What may be a character by its number or its name, at a length that ``html.unescape`` takes without a fault."""
_LINES = re.compile(r"\n{3,}")
BLOCK_OF_CODE = "pre"
_WEIGHTS = {"blockquote": 1, "li": 2, BLOCK_OF_CODE: 4}
_BEGINNINGS = {
    str(within): ("> " if within & 1 else "") + ("- " if within & 2 else "") + ("    " if within & 4 else "")
    for within in range(8)
}
"""What a line begins with, by the character that follows each line's end until the lines are told apart."""
_PLAIN, _CODE = "0", frozenset("4567")
_LISTS = frozenset({"ul", "ol"})
_CODED, _STRUCK = "\ud800", "\ud801"
"""What stands for a mark until the lines are told apart: no text has half a pair of surrogates."""
_AROUND = {"code": _CODED, "s": _STRUCK, "del": _STRUCK, "strike": _STRUCK}
_UNMARKED = str.maketrans("", "", _CODED + _STRUCK)
_MARKS = str.maketrans({_CODED: "`", _STRUCK: "~~"})
_NOTHING = re.compile(rf"([{_CODED}{_STRUCK}])(\s*)\1")
"""A mark that ends as soon as it has begun, or begins anew where it has ended."""
_FENCES = ("```", "~~~")
_PICTURE, _MENTION = "img", "mention"


def text_of(markup: str) -> str:
    """Give the text, with a line's end around each block; within a block, line ends are blanks, but for code.

    Quotes, lists, code and what is struck out are told from what somebody says, as in Markdown: by ``>``, ``-`` or four
    blanks at the beginning of each line, by backticks and tildes around what each line has of it. Words that would be a
    fence are none. A picture, and what a tag of the editor's own stands for, are words in brackets, a mention ``@``.
    """
    lines = (_line(line) for line in (_PLAIN + "".join(_Reader(markup).read())).split("\n"))
    return _LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def _line(line: str) -> str:
    """Write a line with what it begins with; one that has nothing else is empty."""
    if line[0] in _CODE:
        text = line[1:].rstrip()
    elif (text := _with_marks(line[1:]).strip()).startswith(_FENCES):
        text = f"\\{text}"
    return _BEGINNINGS[line[0]] + text if text else ""


def _with_marks(line: str) -> str:
    """Write the marks of a line."""
    if _CODED not in line and _STRUCK not in line:
        return line
    return _NOTHING.sub(r"\2", line).translate(_MARKS)


class _Reader:
    """One pass over a text; `_at` only grows."""

    def __init__(self, markup: str) -> None:
        self._markup, self._at = markup, 0
        self._absent: set[str] = set()
        """What is nowhere ahead."""
        self._within, self._lists = dict.fromkeys(_WEIGHTS, 0), 0
        """How deep the place is in quotes, items and blocks of code; and in lists."""
        self._around, self._open = dict.fromkeys(_AROUND, 0), ""
        """How deep it is in each tag that a mark stands for; and the marks that the line has open."""
        self._line_begin = _PLAIN

    def read(self) -> list[str]:
        """Give the pieces of the text."""
        pieces, markup = list[str](), self._markup
        last = markup.rfind(">")  # what begins behind it ends nowhere
        while (found := _BEGIN.search(markup, self._at, max(last, 0))) is not None:
            if found.start() > self._at:
                pieces.append(self._text(markup[self._at : found.start()]))
            self._at = found.start()
            pieces.append(self._marked())
        pieces += (self._text(markup[self._at :]), self._open)
        return pieces

    def _marked(self) -> str:
        """Go past what begins with ``<``; gives what it stands for."""
        markup, begin = self._markup, self._at
        tag = _TAG.match(markup, begin)
        if tag is not None:
            return self._tag(tag)
        end = -1
        if markup.startswith("<!--", begin):
            end = self._find("-->", begin + 4)
            end = end + 3 if end >= 0 else -1
        elif markup.startswith(("<!", "<?", "</"), begin):
            end = self._find(">", begin) + 1 or -1
        self._at = end if end >= 0 else begin + 1
        return "" if end >= 0 else "<"

    def _tag(self, tag: re.Match[str]) -> str:
        """Go past a tag, and past what it hides; gives a line's end for a block."""
        markup, name = self._markup, tag[1].lower()
        end = self._tag_end(tag.end())
        if end < 0:  # nothing ahead ends a tag, so what is left is none
            rest, self._at = markup[tag.start() :], len(markup)
            return self._text(rest)
        self._at = end
        if name in HIDDEN and not markup.startswith("</", tag.start()) and markup[end - 2] != "/":
            hidden = _HIDDEN_END[name].search(markup, end)
            self._at = hidden.end() if hidden is not None else len(markup)
        return self._meant(name, ends=markup.startswith("</", tag.start()))

    def _meant(self, name: str, *, ends: bool) -> str:
        """Give what a tag stands for: a line's end for a block, with what the next line begins with."""
        step = -1 if ends else 1
        if name in self._within:
            self._enter(name, self._within[name] + step)
        elif name in _LISTS:  # items end with their list, whether that is written or not
            self._lists = max(0, self._lists + step)
            self._enter("li", min(self._within["li"], self._lists))
        if name in BLOCKS:
            return self._line_end()
        if name in _AROUND:
            return self._mark(name, step)
        if ends or not (name == _PICTURE or "-" in name):
            return ""
        return "@" if name.startswith(_MENTION) else f"[{name}]"

    def _mark(self, name: str, step: int) -> str:
        """Enter or leave what a mark stands for; gives the mark, where it begins or ends."""
        self._around[name] = max(0, self._around[name] + step)
        was, self._open = self._open, self._marks()
        return _AROUND[name] if was != self._open else ""

    def _marks(self) -> str:
        """Give the marks of what a place stands in; code has none of its own in a block of code."""
        marks = {_AROUND[name] for name, depth in self._around.items() if depth}
        return "" if self._within[BLOCK_OF_CODE] or not marks else "".join(sorted(marks))

    def _line_end(self) -> str:
        """End a line and begin the next: what is marked is so on both."""
        ended = f"{self._open}\n{self._line_begin}"
        self._open = self._marks()
        return ended + self._open

    def _enter(self, name: str, depth: int) -> None:
        self._within[name] = max(0, depth)
        self._line_begin = str(sum(weight for one, weight in _WEIGHTS.items() if self._within[one]))

    def _text(self, data: str) -> str:
        """Give what stands between tags; line ends are some in a block of code only."""
        read = _REFERENCE.sub(lambda one: html.unescape(one[0]), data) if "&" in data else data
        if _CODED in read or _STRUCK in read:
            read = read.translate(_UNMARKED)
        if "\n" not in read:
            return read
        return read.replace("\n", f"\n{self._line_begin}" if self._within[BLOCK_OF_CODE] else " ")

    def _tag_end(self, at: int) -> int:
        """Find the place behind a tag's ``>``; -1: it has none."""
        while (found := _END.search(self._markup, at)) is not None:
            if found[1] is None:
                return found.end()
            closed = self._find(found[1], found.end())
            at = closed + 1 if closed >= 0 else found.end()
        return -1

    def _find(self, what: str, start: int) -> int:
        """Find the next of something; -1: there is none ahead."""
        if what in self._absent:
            return -1
        found = self._markup.find(what, start)
        if found < 0:
            self._absent.add(what)
        return found
