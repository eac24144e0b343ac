"""Which lines of a comment are heard as a verdict, and which are not."""

from __future__ import annotations

import pytest

from millpond.delivery.board.verdicts import MAX_REASON, Said, in_code, said_in, spoken
from millpond.delivery.model import NO_MARK, Comment

YES, NO, DOUBTFUL = Said(True), Said(False), Said(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/approve", YES),
        ("  /Approve  ", YES),
        ("looks good\n/approve\nthanks", YES),
        ("looks good\r\n/approve\r\nthanks", YES),
        ("/reject", NO),
        ("/approve\n/reject", NO),
        ("/reject\n/approve", YES),
        ("/approve ABCDEF1", Said(True, "abcdef1")),
        ("/approve abcdefa", Said(True, "abcdefa")),
        ("/reject " + "a" * 40, Said(False, "a" * 40)),
        ("/reject  abcdef1\n", Said(False, "abcdef1")),
        ("/approved", None),
        ("/rejected because of the colours", None),
        ("/reject.py is broken", None),
        ("@ada /reject", None),
        ("[a] /reject", None),
        ("[x](y) /reject", None),
        ("", None),
    ],
)
def test_a_verdict_is_a_line_that_begins_with_its_word(text: str, said: Said | None):
    assert said_in(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/reject the Colours are wrong", Said(False, "", "the Colours are wrong")),
        ("/REJECT: the colours", Said(False, "", "the colours")),
        ("/reject - the colours\nsee SH-3", Said(False, "", "the colours")),
        ("/reject this line? /approve", Said(False, "", "this line? /approve")),
        ("/reject?", NO),
        ("/reject abcdef", Said(False, "", "abcdef")),
        ("/reject 20261122 build is broken", Said(False, "", "20261122 build is broken")),
        ("/reject:the colours", Said(False, "", "the colours")),
        ("/reject\N{EM DASH}no", Said(False, "", "no")),
        ("/reject(see SH-3)", Said(False, "", "(see SH-3)")),
        ("/reject\N{HORIZONTAL ELLIPSIS}", NO),
        ("/reject 1a2b3c4x", Said(False, "", "1a2b3c4x")),
        ("/reject defaced logo", Said(False, "", "defaced logo")),
        ("/reject 1A2B3C4: the colours", Said(False, "1a2b3c4", "the colours")),
        ("/approve 1a2b3c4 looks fine", Said(True, "1a2b3c4", "looks fine")),
        ("/approve " + "a" * 40 + " fine", Said(True, "a" * 40, "fine")),
        ("/reject " + "x" * 999, Said(False, "", "x" * MAX_REASON)),
        ("@ /reject 1a2b3c4 no", Said(False, "1a2b3c4", "no")),
        ("/approve\n [img] @ /reject no", Said(False, "", "no")),
    ],
)
def test_a_rejection_and_what_names_a_commit_have_their_reason_on_the_line(text: str, said: Said):
    assert said_in(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "/approve not yet",
        "/approve looks fine",
        "/approve abcdef",
        "/approve or /reject?",
        "/approve!",
        "/approve?",
        "/approve -- once it is green",
        "@ /approve",
        "@ @ /approve 1a2b3c4",
        "[image-component]/approve",
    ],
)
def test_an_approval_with_words_and_no_commit_is_none(text: str):
    assert said_in(text) == DOUBTFUL
    assert said_in(f"/approve\n{text}") == DOUBTFUL


def test_what_may_be_no_approval_takes_one_before_it_back_and_no_rejection():
    assert said_in("/approve\n/approve not yet") == DOUBTFUL
    assert said_in("/reject\n/approve not yet") == NO
    assert said_in("/approve not yet\n/approve") == YES
    comments = (Comment("1", 1.0, "/approve"), Comment("2", 2.0, "/approve not yet"))
    assert spoken(comments, NO_MARK) == (DOUBTFUL, comments[1])
    comments = (Comment("1", 1.0, "/reject no"), Comment("2", 2.0, "/approve not yet"))
    assert spoken(comments, NO_MARK) == (Said(False, "", "no"), comments[0])


@pytest.mark.parametrize("word", ["/approve", "/reject", "/reject for this", "/approve 1a2b3c4 fine"])
@pytest.mark.parametrize(
    "around",
    [
        "write {} to go on",
        "> {}",
        ">{}",
        "  > {}",
        "`{}`",
        "```\n{}\n```",
        "```sh\nmake\n{}\n```\nthanks",
        "~~~~\n```\n{}\n~~~\n{}\n~~~~~",
        "```\n{}",
        "   ```\n{}\n   ```",
        "    {}",
        "\t{}",
        "  \t{}",
        "so: {}",
        "> so\r{}",
        "> so\x0b{}",
        "> so\N{LINE SEPARATOR}{}",
        "```\r\n{}\r\n```\r\n",
    ],
)
def test_what_is_quoted_or_code_or_amid_a_line_is_no_verdict(around: str, word: str):
    assert said_in(around.replace("{}", word)) is None


@pytest.mark.parametrize(
    "text", ["```\nmake\n```\n/reject", "```not code```\n/reject", "   /reject", "~~~\n~~~ \n/reject"]
)
def test_what_stands_outside_of_code_is_heard(text: str):
    assert said_in(text) == NO


def test_a_command_in_code_is_known_as_such():
    assert in_code("see\n```\n/Approve\n```") == "/approve"
    assert in_code("    /reject") == "/reject"
    assert in_code("/approve") == in_code("```\n/approve now\n```") == in_code("> /approve") == ""


def test_the_last_comment_behind_the_mark_holds_and_our_own_do_not_count():
    comments = (
        Comment("1", 10.0, "/approve"),
        Comment("3", 20.0, "/reject"),
        Comment("2", 20.0, "/approve"),
        Comment("4", 30.0, "/approve", ours=True),
        Comment("6", 31.0, "/reject the colours", ours=True),
        Comment("5", 40.0, "nice"),
    )
    assert spoken(comments, NO_MARK) == (NO, comments[1])
    assert spoken(reversed(comments), (10.0, "1")) == (NO, comments[1])
    assert spoken(comments, (20.0, "3")) is None


def test_a_verdict_that_names_another_commit_does_not_count():
    comments = (Comment("1", 10.0, "/approve"), Comment("2", 20.0, "/reject abcdef1 for its colours"))
    other = (Said(False, "abcdef1", "for its colours"), comments[1])
    assert spoken(comments, NO_MARK) == other
    assert spoken(comments, NO_MARK, ("abcdef1" + "0" * 33,)) == other
    assert spoken(comments, NO_MARK, ("0" * 40,)) == (YES, comments[0])
