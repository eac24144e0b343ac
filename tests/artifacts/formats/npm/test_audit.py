"""Private names are taken out of what goes to a public registry."""

from __future__ import annotations

import gzip
import json

import pytest

from millpond.artifacts.formats.npm import audit
from millpond.artifacts.formats.npm.audit import without


def ours(name: str) -> bool:
    return name.startswith("@ours/")


BULK = {"left-pad": ["1.0.0"], "@ours/secret": ["2.0.0"], "@others/thing": ["3.0.0"]}
TREE = {
    "name": "@ours/app",
    "version": "1.0.0",
    "requires": {"left-pad": "^1.0.0", "@ours/secret": "*"},
    "dependencies": {
        "@ours/secret": {"version": "2.0.0", "requires": {"a": "1"}, "dependencies": {"a": {"version": "1"}}},
        "left-pad": {"version": "1.0.0", "requires": {"@ours/b": "1"}, "dependencies": {"@ours/b": {"version": "1"}}},
    },
}


@pytest.mark.parametrize("encoding", ["", "identity", "gzip"])
def test_a_bulk_request_keeps_the_others(encoding: str):
    body = json.dumps(BULK).encode()
    got = without(gzip.compress(body) if encoding == "gzip" else body, encoding, ours)
    assert json.loads(gzip.decompress(got) if encoding == "gzip" else got) == {
        "left-pad": ["1.0.0"],
        "@others/thing": ["3.0.0"],
    }


def test_a_tree_is_cleared_at_every_depth():
    got = json.loads(without(json.dumps(TREE).encode(), "", ours))
    assert b"@ours/" not in json.dumps(got).encode()
    assert got["dependencies"] == {"left-pad": {"version": "1.0.0", "requires": {}, "dependencies": {}}}
    assert got["requires"] == {"left-pad": "^1.0.0"}


def nested(depth: int) -> bytes:
    tree: dict[str, object] = {"dependencies": {}}
    for _ in range(depth):
        tree = {"dependencies": {"a": tree}}
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"null", ""),
        (b"{", ""),
        (b"{}", "br"),
        (b"{}", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (b"\xff", ""),
        (nested(300), ""),
    ],
)
def test_what_can_not_be_read_is_refused_so_that_it_is_not_sent(body: bytes, encoding: str):
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
        without(body, encoding, ours)


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(audit, "MAX_PLAIN_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        without(gzip.compress(b"{" + b" " * 5000 + b"}"), "gzip", ours)
