"""The table of servable hits: what it gives, what it never gives again, and its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.adapters.stamps import MappedStamps
from millpond.artifacts.hits import SMALL_BYTES, Hit, Hits
from millpond.artifacts.model import Use
from millpond.testing.clock import FakeClock

NOW = 1000.0


class Notes:
    """Usage and counters, as lists."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.counted: list[tuple[str, str, int, int]] = []

    def note(self, use: Use) -> None:
        self.uses.append(use)

    def served(self, repository: str, outcome: str, size: int, count: int = 1) -> None:
        self.counted.append((repository, outcome, size, count))


@pytest.fixture
def stamps(tmp_path: Path) -> Iterator[MappedStamps]:
    made = MappedStamps(tmp_path / "stamps")
    yield made
    made.close()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def hits(stamps: MappedStamps, notes: Notes) -> Iterator[Hits]:
    made = Hits(stamps, FakeClock(NOW), notes, notes, max_hits=4, max_body_bytes=3 * SMALL_BYTES, max_files=2)
    yield made
    made.clear()


def hit(hits: Hits, folder: Path, name: str, size: int, *, until: float = math.inf, varied: bool = False) -> Hit:
    file = folder / name
    file.write_bytes(b"x" * size)
    return Hit(
        repository="r", path=name, digest="sha256:0", outcome="hit", file=file, size=size, tag=b'"t"',
        guard=f"r/{name}", stamp=hits.stamp(f"r/{name}"), fresh_until=until, varied=varied,
        lines=lambda now: b"age: %d\r\n" % now,
    )  # fmt: skip


def put(hits: Hits, folder: Path, name: str, size: int = 10, **more: object) -> Hit:
    made = hit(hits, folder, name, size, **more)
    hits.remember((b"/r/" + name.encode(), b"*/*", b"h"), made)
    return made


def test_a_hit_is_found_by_its_target_alone(hits: Hits, tmp_path: Path):
    made = put(hits, tmp_path, "a")
    assert hits.find(b"/r/a", b"other", b"else", NOW) is made
    assert made.body == b"x" * 10
    assert hits.find(b"/r/b", b"", b"", NOW) is None


def test_one_that_depends_on_accept_and_host_is_found_by_them_only(hits: Hits, tmp_path: Path):
    made = put(hits, tmp_path, "a", varied=True)
    assert hits.find(b"/r/a", b"*/*", b"h", NOW) is made
    assert hits.find(b"/r/a", b"*/*", b"evil", NOW) is None
    assert hits.find(b"/r/a", b"", b"", NOW) is None


def test_it_stands_until_its_freshness_ends(hits: Hits, tmp_path: Path):
    put(hits, tmp_path, "a", until=NOW + 5)
    assert hits.find(b"/r/a", b"", b"", NOW + 4.9) is not None
    assert hits.find(b"/r/a", b"", b"", NOW + 5) is None
    assert len(hits) == 0


def test_a_changed_stamp_ends_it_at_once(hits: Hits, stamps: MappedStamps, tmp_path: Path):
    put(hits, tmp_path, "a")
    stamps.touch("r/a")
    assert hits.find(b"/r/a", b"", b"", NOW) is None


def test_a_change_while_the_answer_was_made_is_not_missed(hits: Hits, stamps: MappedStamps, tmp_path: Path):
    made = hit(hits, tmp_path, "a", 10)
    stamps.touch("r/a")
    hits.remember((b"/r/a", b"", b""), made)
    assert hits.find(b"/r/a", b"", b"", NOW) is None


def test_the_head_is_made_anew_once_a_second(hits: Hits, tmp_path: Path):
    made = put(hits, tmp_path, "a")
    assert made.head(1000.2) is made.head(1000.9)
    assert made.head(1001.0) == b"age: 1001\r\n"


def test_the_least_recently_used_goes_first(hits: Hits, tmp_path: Path):
    for name in "abcd":
        put(hits, tmp_path, name)
    hits.find(b"/r/a", b"", b"", NOW)
    put(hits, tmp_path, "e")
    assert hits.find(b"/r/b", b"", b"", NOW) is None
    assert hits.find(b"/r/a", b"", b"", NOW) is not None


def test_small_bodies_are_bounded_in_bytes(hits: Hits, tmp_path: Path):
    for name in "abcd":
        put(hits, tmp_path, name, SMALL_BYTES)
    assert len(hits) == 3
    assert hits.body_bytes == 3 * SMALL_BYTES


def test_open_files_are_bounded_and_stay_open_while_they_are_sent(hits: Hits, tmp_path: Path):
    opened = []
    for name in "abc":
        made = put(hits, tmp_path, name, SMALL_BYTES + 1)
        assert made.body is None
        opened.append(hits.opened(b"/r/" + name.encode(), b"", b"", made))
    assert hits.open_files == 2
    first = opened[0]
    assert first is not None
    assert first.fd >= 0, "a transfer still reads it"
    first.release()
    assert first.fd == -1


def test_a_removed_file_gives_its_disk_space_back(hits: Hits, stamps: MappedStamps, tmp_path: Path):
    made = put(hits, tmp_path, "a", SMALL_BYTES + 1)
    file = hits.opened(b"/r/a", b"", b"", made)
    assert file is not None
    file.release()
    stamps.touch("r/a")
    hits.flush()
    assert (hits.open_files, file.fd, len(hits)) == (0, -1, 0)


def test_a_file_that_is_gone_is_no_hit(hits: Hits, tmp_path: Path):
    made = put(hits, tmp_path, "a", SMALL_BYTES + 1)
    made.file.unlink()
    assert hits.opened(b"/r/a", b"", b"", made) is None
    assert len(hits) == 0


def test_what_was_served_is_noted_at_once_and_counted_when_flushed(hits: Hits, notes: Notes, tmp_path: Path):
    made = put(hits, tmp_path, "a")
    for _ in range(3):
        hits.served(made, "ci", 10, NOW)
    assert [(use.path, use.token, use.size) for use in notes.uses] == [("a", "ci", 10)] * 3
    assert notes.counted == []
    hits.flush()
    hits.flush()
    assert notes.counted == [("r", "hit", 30, 3)]


def test_nothing_is_left_after_clear(hits: Hits, notes: Notes, tmp_path: Path):
    made = put(hits, tmp_path, "a", varied=True)
    hits.served(made, "", 10, NOW)
    hits.clear()
    assert (len(hits), hits.body_bytes, hits.open_files) == (0, 0, 0)
    hits.flush()
    assert notes.counted == [("r", "hit", 10, 1)]
