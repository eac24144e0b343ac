"""A members document is searched where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millpond.artifacts.deriving import find_member, write_members, write_rewritten
from millpond.artifacts.model import Checksum, Links, Member, Target

TARGET = Target("index", "index", mutable=True)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6).filter(lambda name: name != "!")
NAMES = st.lists(NAME, max_size=30)


class Names:
    """A format whose index has a name on each line; ``!`` is unsound."""

    rewrite_version = 1

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:  # noqa: ARG002 - as the protocol has it
        for line in b"".join(chunks).decode().split("\r"):
            if line == "!":
                raise ValueError("unsound")
            yield Member(line, f"{source}{line}", (Checksum("md5", "ab"), Checksum("sha1", "cd")), len(line), 1.5)

    def rewriter(self, target: Target, content_type: str, links: Links) -> Upper:  # noqa: ARG002 - as the protocol has it
        return Upper()


class Upper:
    def feed(self, chunk: bytes) -> bytes:
        if b"!" in chunk:
            raise ValueError("unsound")
        return chunk.upper()

    def close(self) -> bytes:
        return b"."


def listing(folder: Path, names: list[str]) -> Path:
    (folder / "blob").write_bytes("\r".join(names).encode())
    to = folder / "a" / "members"
    write_members(Names(), TARGET, "", folder / "blob", "http://i.example/", to)
    return to


def test_a_member_comes_back_as_it_was(tmp_path: Path):
    to = listing(tmp_path, ["b", "a"])
    assert find_member(to, "a") == Member(
        "a", "http://i.example/a", (Checksum("md5", "ab"), Checksum("sha1", "cd")), 1, 1.5
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(NAMES, NAMES)
def test_every_member_is_found_and_nothing_else(tmp_path: Path, names: list[str], others: list[str]):
    to = listing(tmp_path, names)
    for name in {*names, *others}:
        found = find_member(to, name)
        lines = name in names and name != "" and "\t" not in name and "\n" not in name
        assert (found is not None and found.name == name) if lines else found is None


def test_a_large_index_is_searched_too(tmp_path: Path):
    to = listing(tmp_path, [f"name-{number}" for number in range(20_000)])
    assert all(find_member(to, f"name-{number}") for number in range(0, 20_000, 997))
    assert find_member(to, "name-") is None
    assert find_member(to, "name-20000") is None
    assert find_member(to, "# members, by name") is None


def test_of_two_with_one_name_the_first_counts(tmp_path: Path):
    class Twice(Names):
        def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:  # noqa: ARG002 - as the protocol has it
            yield Member("a", "first")
            yield Member("a", "second")

    (tmp_path / "blob").touch()
    write_members(Twice(), TARGET, "", tmp_path / "blob", "", tmp_path / "members")
    assert find_member(tmp_path / "members", "a") == Member("a", "first")


def test_what_is_unsound_leaves_no_file(tmp_path: Path):
    (tmp_path / "blob").write_bytes(b"x" * 300_000 + b"!")
    with pytest.raises(ValueError, match="unsound"):
        write_rewritten(Names(), TARGET, "", tmp_path / "blob", Links("", ""), tmp_path / "to" / "doc")
    (tmp_path / "blob").write_bytes(b"a\r!")
    with pytest.raises(ValueError, match="unsound"):
        write_members(Names(), TARGET, "", tmp_path / "blob", "", tmp_path / "to" / "doc")
    assert list((tmp_path / "to").glob("*")) == []


def test_a_document_is_the_whole_of_what_the_transducer_gave(tmp_path: Path):
    (tmp_path / "blob").write_bytes(b"x" * 600_000)
    write_rewritten(Names(), TARGET, "", tmp_path / "blob", Links("", ""), tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"X" * 600_000 + b"."
