from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.steps.transcripts import Prices, Transcript


def line(**event: Any) -> bytes:
    return json.dumps(event).encode()


def test_turns_are_messages_and_too_many_end_it():
    heard = Transcript(turns=2)
    for name in ("m1", "m1", "m2"):
        assert heard.hear(line(type="assistant", message={"id": name, "content": []})) == ""
    assert "2 turns" in heard.hear(line(type="assistant", message={"id": "m3", "content": []}))
    assert heard.over == "2 turns"


def test_the_cost_of_tokens_by_price():
    heard = Transcript(prices=Prices(1.0, None, 2.0))
    heard.hear(line(type="turn.completed", usage={"input_tokens": 2_000_000, "output_tokens": 500_000}))
    assert heard.usd == 3.0
    assert heard.ended


def test_a_cost_that_is_none_is_not_known():
    for told in (None, -1, "1", True, float("inf")):
        heard = Transcript()
        heard.hear(json.dumps({"type": "result", "total_cost_usd": told}).encode())
        assert heard.usd is None


def test_only_the_last_words_ask():
    heard = Transcript()
    heard.hear(line(type="result", result="**QUESTION:** no\n> **QUESTION:** what, then? \nthanks"))
    assert heard.question == "what, then?"
    heard = Transcript()
    heard.hear(line(type="result", result="I have no QUESTION: really"))
    assert heard.question == ""


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("stream disconnected before completion: error sending request for url (https://api.example/v1)", True),
        ("Error while reading the server response: error decoding response body", True),
        ("We're currently experiencing high demand, which may cause temporary errors.", True),
        ("exceeded retry limit, last status: 429 Too Many Requests", True),
        ("getaddrinfo EAI_AGAIN api.example", True),
        ("write EPIPE: broken pipe", True),
        ("unexpected status 400 Bad Request: the model is not known", False),
        ("Codex ran out of room in the model's context window.", False),
    ],
)
def test_which_errors_may_pass(text: str, passes: bool):
    heard = Transcript()
    heard.hear(line(type="turn.failed", error={"message": text}))
    assert (heard.error, heard.ended, heard.passes) == (text, True, passes)


def test_an_error_before_the_turn_was_completed_was_got_over():
    heard = Transcript()
    heard.hear(line(type="error", message="Reconnecting... 1/5 (stream disconnected before completion)"))
    assert heard.error
    heard.hear(line(type="turn.completed", usage={}))
    assert (heard.ended, heard.error) == (True, "")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_TYPES = st.sampled_from(["result", "assistant", "item.started", "item.completed", "turn.completed", "error", "system"])
_KEYS = st.sampled_from(["message", "item", "usage", "result", "error", "id", "content", "num_turns", "total_cost_usd"])


@pytest.mark.heavy
@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(_TYPES, st.dictionaries(_KEYS, _JSON, max_size=4)), max_size=6), st.binary(max_size=20))
def test_whatever_is_written_is_read_without_a_fault(events: list[tuple[str, dict[str, Any]]], noise: bytes):
    heard = Transcript(turns=3, prices=Prices(1.0, 1.0, 1.0))
    for kind, event in events:
        heard.hear(json.dumps({**event, "type": kind}).encode())
    heard.hear(noise)
    assert heard.spent.usd >= 0
    assert heard.spent.turns >= 0
