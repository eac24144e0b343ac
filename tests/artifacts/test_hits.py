"""The table of servable hits: what it gives, what it never gives again, and its bounds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.adapters.stamps import MappedStamps
from millpond.artifacts.hits import SMALL_BYTES, TALLIES_PER_TURN, Hit, Hits
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
        slot=hits.slot(f"r/{name}"), stamp=hits.stamp(hits.slot(f"r/{name}")), fresh_until=until, varied=varied,
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
        opened.append(hits.opened(made))
        opened[-1].hold()
    assert hits.open_files == 2
    first = opened[0]
    assert first is not None
    assert first.fd >= 0, "a transfer still reads it"
    first.release()
    assert first.fd == -1


async def test_a_removed_file_gives_its_disk_space_back(hits: Hits, stamps: MappedStamps, tmp_path: Path):
    made = put(hits, tmp_path, "a", SMALL_BYTES + 1)
    file = hits.opened(made)
    assert file is not None
    stamps.touch("r/a")
    await hits.note()
    assert (hits.open_files, file.fd, len(hits)) == (0, -1, 0)


def test_a_file_that_is_gone_is_no_hit(hits: Hits, tmp_path: Path):
    made = put(hits, tmp_path, "a", SMALL_BYTES + 1)
    made.file.unlink()
    assert hits.opened(made) is None
    assert len(hits) == 0


def test_the_file_sent_least_lately_is_closed_first(hits: Hits, tmp_path: Path):
    first, second, third = (put(hits, tmp_path, name, SMALL_BYTES + 1) for name in "abc")
    files = [hits.opened(first), hits.opened(second)]
    hits.opened(first)
    hits.opened(third)
    assert [file.fd >= 0 for file in files if file is not None] == [True, False]


def test_what_was_served_is_written_down_once_for_each_caller(hits: Hits, notes: Notes, tmp_path: Path):
    made = put(hits, tmp_path, "a")
    for token in ("ci", "ci", "", "ci"):
        hits.served(hits.tally(made, token), 10, 1)
    hits.served(hits.tally(made, ""), 0, 0)
    assert notes.uses == []
    hits.flush()
    hits.flush()
    assert [(use.path, use.token, use.size, use.count) for use in notes.uses] == [("a", "ci", 30, 3), ("a", "", 10, 1)]
    assert notes.counted == [("r", "hit", 40, 5)]


async def test_much_is_written_down_in_several_turns_and_nothing_is_lost_between_them(hits, notes, tmp_path):
    tallies = [hits.tally(put(hits, tmp_path, f"a{number}"), "ci") for number in range(TALLIES_PER_TURN * 2 + 1)]
    for tally in tallies:
        hits.served(tally, 10, 1)
    noting = asyncio.create_task(hits.note())
    await asyncio.sleep(0)
    assert len(notes.uses) == TALLIES_PER_TURN
    for tally in tallies:
        hits.served(tally, 10, 1)  # some of them are written down by now, others not
    await noting
    hits.flush()
    assert {use.path: 0 for use in notes.uses}.keys() == {f"a{number}" for number in range(len(tallies))}
    assert sum(use.count for use in notes.uses) == 2 * len(tallies)
    assert sum(count for *_, count in notes.counted) == 2 * len(tallies)


def test_an_answer_without_a_body_is_counted_and_no_use(hits: Hits, notes: Notes, tmp_path: Path):
    hits.served(hits.tally(put(hits, tmp_path, "a"), "ci"), 0, 0)
    hits.flush()
    assert (notes.uses, notes.counted) == ([], [("r", "hit", 0, 1)])


def test_a_tally_that_is_kept_goes_on_counting(hits: Hits, notes: Notes, tmp_path: Path):
    tally = hits.tally(put(hits, tmp_path, "a"), "ci")
    for _ in range(2):
        hits.served(tally, 10, 1)
        hits.flush()
    assert [use.count for use in notes.uses] == [1, 1]


def test_nothing_is_left_after_clear(hits: Hits, notes: Notes, tmp_path: Path):
    made = put(hits, tmp_path, "a", varied=True)
    hits.served(hits.tally(made, ""), 10, 1)
    hits.clear()
    assert not hits.stands(made, NOW)
    assert (len(hits), hits.body_bytes, hits.open_files) == (0, 0, 0)
    hits.flush()
    assert notes.counted == [("r", "hit", 10, 1)]
