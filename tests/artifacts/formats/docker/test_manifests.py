"""A manifest's own word for what it is."""

from __future__ import annotations

import json

import pytest

from millpond.artifacts.formats.docker.manifests import media_type
from millpond.artifacts.formats.docker.negotiation import FORMS

V2, OCI, INDEX = FORMS["v2"], FORMS["manifest"], FORMS["index"]


def test_its_own_word_beats_what_came_with_it():
    assert media_type("application/json", json.dumps({"mediaType": V2}).encode()) == V2
    assert media_type(INDEX, json.dumps({"mediaType": V2}).encode()) == V2


def test_without_one_what_came_with_it_counts():
    assert media_type(f"{OCI}; charset=utf-8", b'{"schemaVersion": 2}') == OCI


def test_without_either_the_shape_tells():
    assert media_type("text/plain", b'{"config": {}, "layers": []}') == OCI
    assert media_type("", b'{"manifests": []}') == INDEX
    assert media_type("application/json", b'{"other": 1}') == "application/json"


@pytest.mark.parametrize("own", [1, "", "a\r\nb", "x" * 300, "ä", None, {}])
def test_a_word_that_no_header_can_have_is_none(own):
    assert media_type(OCI, json.dumps({"mediaType": own}).encode()) == OCI


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"x"', b"\xff", b"[" * 100_000, b'{"schemaVersion": 1}'])
def test_what_is_no_manifest(body):
    with pytest.raises(ValueError, match=r"JSON|schema 1"):
        media_type(OCI, body)
