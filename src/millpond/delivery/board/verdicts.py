"""Verdicts in comments: which lines are heard as one, and what they say. PURE.

A verdict is a line that begins with ``/approve`` or ``/reject``, case does not count. What is heard is fail-closed: a
rejection that was none costs a stage that is done again, an approval that was none brings a commit out.

- ``/reject`` is a rejection whatever follows it; that is its reason.
- ``/approve`` is an approval alone on its line, or with the commit that it is about (7 to 64 hexadecimal digits), which
  words may follow: who copies a commit's name means that very commit. Behind ``/reject`` one has letters and digits, or
  is whole: "defaced" is a word, 20261122 a day, and a rejection that is taken for one of another commit would be lost.
- Behind a mention (``@``, as `htmltext` writes it) or a picture ``/reject`` is one, too; ``/approve`` may be a question
  to whoever is mentioned, and counts as with words behind it.
- ``/approve`` with anything else behind it (``/approve not yet``, ``/approve once it is green``) may be an approval or
  its contrary, and no list of words would tell them apart. It counts for nothing, is answered, and takes an approval
  before it back that has not counted yet; a rejection before it stands.

A quoted line (``> /approve``), one in a block of code (between fences, or behind four blanks) and a mention amid a line
are no verdicts. Our own comments, which quote verdicts, are none either.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from millpond.delivery.model import Comment, Mark

APPROVE, REJECT = "/approve", "/reject"
COMMANDS: Mapping[str, bool] = {APPROVE: True, REJECT: False}
KEPT = 512
"""Comments whose meaning is remembered: what is looked at several times is read once."""
MAX_REASON = 500
"""Characters of a reason that are kept; what is left out stands in the comment."""
_BEFORE = r"(?:(?:@|\[img\]|\[\w{1,40}(?:-\w{1,40}){1,5}\])[^\S\n]*)*+"
_LINE = re.compile(rf"({_BEFORE})(/approve|/reject)(?!\w|[./-]\w)(.*)", re.IGNORECASE)
_WORD = re.compile(r"[a-f]{7,39}|[0-9]{7,39}", re.IGNORECASE)
_COMMIT = re.compile(r"([0-9a-f]{7,64})(?!\w)(.*)", re.IGNORECASE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TELLING = re.compile(
    rf"^(?: {{0,3}}(?:`{{3}}|~{{3}})|[^\S\n]*{_BEFORE}/(?:approve|reject)).*$", re.IGNORECASE | re.MULTILINE
)
"""The lines that matter: a comment of thousands of others costs a pass over it, and none of ours for each line."""
_INDENTED = re.compile(r" {4}| {0,3}\t")
_BETWEEN = " \t:,;.!?-\N{EN DASH}\N{EM DASH}\N{HORIZONTAL ELLIPSIS}"
"""What people write between the word and the reason."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a comment says at a gate. `approved` None: words that may be an approval or its contrary.

    `commit`: the beginning of the name of the one that it is about; empty: whichever waits.
    """

    approved: bool | None
    commit: str = ""
    reason: str = ""

    @property
    def word(self) -> str:
        """The command that was written."""
        return REJECT if self.approved is False else APPROVE


def spoken(comments: Iterable[Comment], after: Mark, about: Collection[str] = ()) -> tuple[Said, Comment] | None:
    """Find what the last comment behind a place that speaks at a gate says; None: there is none.

    `about`: the commits of which one has to be meant where one is named; none: any may be.
    """
    held: tuple[Said, Comment] | None = None
    theirs = (one for one in comments if not one.ours and (one.at, one.id) > after)
    for comment in sorted(theirs, key=lambda one: (one.at, one.id)):
        said = said_in(comment.text)
        if said is None or (said.commit and about and not names_one(said.commit, about)):
            continue
        if held is None or not _stands(held[0], said):
            held = said, comment
    return held


@lru_cache(maxsize=KEPT)
def said_in(text: str) -> Said | None:
    """Read what a comment says at a gate; of more than one line of that kind the last one holds. None: nothing."""
    held: Said | None = None
    for line, heard in _commands(text):
        said = read(line) if heard else None
        if said is not None and (held is None or not _stands(held, said)):
            held = said
    return held and replace(held, reason=held.reason[:MAX_REASON])


def read(line: str) -> Said | None:
    """Read one line, whatever it stands in. None: it is no verdict."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    approved, rest = COMMANDS[found[2].casefold()], found[3].lstrip(_BETWEEN)
    if approved and found[1]:
        return Said(None)
    named = _COMMIT.fullmatch(rest)
    if named is not None and (approved or not _WORD.fullmatch(named[1])):
        return Said(approved, named[1].casefold(), named[2].lstrip(_BETWEEN))
    if approved:
        return Said(None if found[3] else True)
    return Said(approved=False, reason=rest)


def in_code(text: str) -> str:
    """Give the command that stands by itself in a block of code, so that it is not heard; empty: none does."""
    found = [(line.strip().casefold(), heard) for line, heard in _commands(text)]
    plain = {line for line, heard in found if heard}
    return next((line for line, _ in found if line in COMMANDS and line not in plain), "")


def lines_of(text: str) -> list[str]:
    """Give a text's lines. What else may end one (a lone carriage return, U+2028) ends no quote, and so no line."""
    return text.replace("\r\n", "\n").split("\n")


def names_one(commit: str, about: Collection[str]) -> bool:
    """Whether the beginning of a commit's name is that of one of some commits."""
    return any(one.startswith(commit) for one in about)


def _stands(before: Said, after: Said) -> bool:
    """Whether what was said first holds: a rejection is not taken back by what may be none of an approval."""
    return before.approved is False and after.approved is None


def _commands(text: str) -> Iterator[tuple[str, bool]]:
    """Give the lines of a comment that may begin with a command, and whether they are heard.

    Those in a block of code are not, as Markdown has them: an open one has no end.
    """
    fence = ""
    for found in _TELLING.finditer(text.replace("\r\n", "\n")):
        mark = _FENCE.fullmatch(found[0])
        if mark is None:
            yield found[0], not fence and not _INDENTED.match(found[0])
        elif fence:
            if mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
