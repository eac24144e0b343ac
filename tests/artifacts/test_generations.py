"""What may be served beside what: the rules by values, and against an upstream that changes at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from millpond.artifacts.generations import (
    IndexAtHand,
    Promise,
    beginning,
    changed,
    decide_led,
    decide_member,
    decide_package,
    disagree,
    kept,
    to_ask_again,
    vouching,
)
from millpond.artifacts.model import Checksum, Decision, Entry, Fetch, Freshness, Revalidate, Serve, Target

NOW = 1_000_000.0
MEMBER = Target("dists/a/Packages", "dists/a/Packages", mutable=True)
PACKAGE = Target("pool/a.deb", "pool/a.deb", mutable=False)
POLICY = Freshness()


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def entry(letter: str = "a", **more) -> Entry:
    made = Entry(
        "r", "p", "", 200, digest(letter), 10, "", "", '"e"', "", "", stored_at=NOW, validated_at=NOW, checked_at=NOW,
        fresh_until=NOW + 600,
    )  # fmt: skip
    return replace(made, **more)


def absent(**more) -> Entry:
    return entry(status=404, digest=None, size=0, **more)


def promise(letter: str = "a", *, size: int | None = 10, since: float = NOW - 100, heads=("h",)) -> Promise:
    return Promise((Checksum("sha256", letter * 64),), size, since, "p", heads)


WEAK = Promise((Checksum("md5", "0" * 32),), 10, NOW, "p")
SAME = entry(stored_at=NOW - 1, identity=f"md5:{'0' * 32}")


@pytest.mark.parametrize(
    ("stored", "promised", "expected"),
    [
        (entry(), promise(), Serve(entry(), promised=True)),
        (entry(fresh_until=0), promise(), Serve(entry(fresh_until=0), promised=True)),
        (entry("b"), promise(), Fetch()),
        (None, promise(), Fetch()),
        (entry(), None, Serve(entry())),
        (entry(fresh_until=0), None, Revalidate(entry(fresh_until=0))),
        (absent(), promise(), Serve(absent())),
        (absent(), promise(since=NOW), Fetch()),
        (absent(), promise(since=NOW + 1), Fetch()),
        (absent(fresh_until=0), promise(), Fetch()),
        (entry(), WEAK, Serve(entry(), promised=True)),
        (entry(size=11), WEAK, Fetch()),
        (entry(stored_at=NOW - 1), WEAK, Fetch()),
        (entry(stored_at=NOW - 1, identity=f"md5:{'0' * 32}"), WEAK, Serve(SAME, promised=True)),
        (entry(identity=f"md5:{'1' * 32}"), WEAK, Fetch()),
        (entry(identity=f"md5:{'0' * 32}", size=11), WEAK, Fetch()),
        (entry(identity=f"sha1:{'0' * 40}"), WEAK, Serve(entry(identity=f"sha1:{'0' * 40}"), promised=True)),
        (entry(identity=f"sha1:{'0' * 40}", stored_at=NOW - 1), WEAK, Fetch()),
        (entry("b", identity=f"sha256:{'a' * 64}"), promise(), Fetch()),
    ],
)
def test_a_member(stored: Entry | None, promised: Promise | None, expected: Decision):
    assert decide_member(stored, promised, MEMBER, POLICY, NOW) == expected


@pytest.mark.parametrize(
    ("stored", "promises", "expected"),
    [
        (entry(), [], Serve(entry())),
        (entry(), [promise()], Serve(entry(), promised=True)),
        (entry(), [promise("b"), promise()], Serve(entry(), promised=True)),
        (entry(), [promise("b"), promise("c")], Fetch()),
        (None, [promise()], Fetch()),
        (absent(), [promise()], Serve(absent())),
        (absent(), [promise(), promise(since=NOW + 1)], Fetch()),
    ],
)
def test_a_package(stored: Entry | None, promises: list[Promise], expected: Decision):
    assert decide_package(stored, promises, PACKAGE, POLICY, NOW) == expected


def test_an_old_absence_during_a_set_back_clock_is_asked_again():
    assert decide_member(absent(checked_at=NOW + 1000), promise(), MEMBER, POLICY, NOW) == Fetch()


HEAD = Target("repodata/repomd.xml", "repodata/repomd.xml", mutable=True)
STALE = entry(fresh_until=NOW - 1, checked_at=NOW - 100)
LEAD = entry("f", stored_at=NOW - 200, checked_at=NOW - 50, fresh_until=NOW + 30)


@pytest.mark.parametrize(
    ("stored", "lead", "expected"),
    [
        (None, LEAD, Fetch()),
        (STALE, None, Revalidate(STALE)),
        (STALE, LEAD, Revalidate(STALE)),
        (STALE, replace(LEAD, fresh_until=NOW), Revalidate(STALE)),
        (STALE, replace(LEAD, digest=None, status=404), Revalidate(STALE)),
        (entry(fresh_until=NOW + 600), LEAD, Serve(entry(fresh_until=NOW + 600))),
        (entry(checked_at=NOW - 300), LEAD, Revalidate(entry(checked_at=NOW - 300))),
        (entry(checked_at=NOW - 200), LEAD, Serve(entry(checked_at=NOW - 200))),
        (STALE, replace(LEAD, checked_at=NOW + 1000), Revalidate(STALE)),
        (STALE, replace(LEAD, fresh_until=0, retry_at=NOW + 9), Serve(replace(STALE, fresh_until=NOW + 9))),
        (replace(STALE, fresh_until=0), LEAD, Revalidate(replace(STALE, fresh_until=0))),
        (replace(STALE, failure="x"), LEAD, Revalidate(replace(STALE, failure="x"))),
        (absent(), LEAD, Serve(absent())),
    ],
)
def test_an_entry_file_that_a_list_leads(stored: Entry | None, lead: Entry | None, expected: Decision):
    assert decide_led(stored, lead, HEAD, POLICY, NOW) == expected


@pytest.mark.parametrize(
    ("path", "stem", "expected"),
    [
        ("x/Packages.xz", "x/Packages", "x/Packages"),
        ("x/Packages", "x/Packages", "x/Packages"),
        ("x/repodata/abc-primary.xml.gz", "x/repodata/:primary", "x/repodata/"),
        ("repodata/primary.xml", "repodata/:primary", "repodata/"),
        ("a", "b", ""),
    ],
)
def test_where_the_generations_of_an_index_lie(path: str, stem: str, expected: str):
    assert beginning(path, stem) == expected


def test_documents_that_disagree():
    assert not disagree([promise(), promise(since=1.0)])
    assert disagree([promise(), promise("b")])
    assert disagree([promise(), promise(size=11)])


def test_each_entry_file_is_asked_again_once():
    assert list(to_ask_again([promise(heads=("h", "i")), promise(heads=("i",))])) == ["h", "i"]


def test_the_indexes_whose_word_counts():
    here, old = IndexAtHand("P.xz", "P", stands=True), IndexAtHand("P.gz", "P", stands=False)
    alone = IndexAtHand("Q.gz", "Q", stands=False)
    assert vouching([old, alone, here]) == ["P.xz", "Q.gz"]
    assert vouching([old]) == ["P.gz"]
    assert vouching([]) == []


LISTS = st.dictionaries(st.binary(min_size=1, max_size=3), st.binary(max_size=2), max_size=12)


@pytest.mark.heavy
@settings(max_examples=300, deadline=None)
@given(LISTS, LISTS)
def test_what_two_lists_say_differently(old, new):
    found = list(changed(sorted(old.items()), sorted(new.items())))
    assert found == sorted(name for name in old.keys() & new.keys() if old[name] != new[name])


@dataclass
class Upstream:
    """An archive as the rules see it: a number for each generation of the entry file, its index and one package."""

    entry_file: int = 0
    index: int = 0
    package: int = 0


@dataclass
class Client:
    """What one client got in this run: generations; None: not yet, or refused."""

    entry_file: int | None = None
    index: int | None = None
    package: int | None = None


@dataclass
class Store:
    """What the pond has: the entry file's generation, and entries as the rules see them."""

    entry_file: int | None = None
    since: float = 0.0
    expired: bool = True
    index: Entry | None = None
    package: Entry | None = None
    old: dict[int, int] = field(default_factory=dict)
    """Members by digest."""


class ChangingArchive(RuleBasedStateMachine):
    """Clients of one pond, by hash and not, while the archive changes file by file, in any order and at any moment.

    A generation's entry file promises that generation's index, and that index that generation's package: so what a
    client accepts is a number that is the same three times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.upstream, self.store, self.client = Upstream(), Store(), Client()
        self.now, self.generation = NOW, 0

    def _tick(self) -> float:
        self.now += 1
        return self.now

    @staticmethod
    def _letter(generation: int) -> str:
        return f"{generation:064x}"

    def _made(self, generation: int) -> Entry:
        now = self._tick()
        return entry(digest="sha256:" + self._letter(generation), stored_at=now, checked_at=now)

    def _promise(self, generation: int, since: float) -> Promise:
        return Promise((Checksum("sha256", self._letter(generation)),), None, since, "p", ("entry",))

    @rule()
    def a_new_generation_begins(self) -> None:
        self.generation += 1
        self.upstream.entry_file = self.generation

    @rule()
    def its_index_follows(self) -> None:
        self.upstream.index = self.generation

    @rule()
    def its_package_follows(self) -> None:
        self.upstream.package = self.generation

    @rule()
    def time_passes(self) -> None:
        self._tick()
        self.store.expired = True

    @rule()
    def a_client_begins_again(self) -> None:
        self.client = Client()

    @rule(reachable=st.booleans())
    def the_entry_file_is_asked_for(self, reachable: bool) -> None:
        if self.store.expired and reachable:
            if self.store.entry_file != self.upstream.entry_file:
                self.store.entry_file, self.store.since = self.upstream.entry_file, self._tick()
            self.store.expired = False
        self.client = Client(self.store.entry_file)

    @rule(reachable=st.booleans(), by_hash=st.booleans())
    def the_index_is_asked_for(self, reachable: bool, by_hash: bool) -> None:
        if self.client.entry_file is None or self.store.entry_file is None:
            return
        if by_hash and self.client.entry_file in self.store.old:
            self.client.index = self.store.old[self.client.entry_file]
            return
        promised = self._promise(self.store.entry_file, self.store.since)
        decision = decide_member(self.store.index, promised, MEMBER, POLICY, self.now)
        if isinstance(decision, Fetch) and reachable:
            self._fetch_index(promised)
        served = decide_member(self.store.index, promised, MEMBER, POLICY, self.now)
        if isinstance(served, Serve) and self.client.entry_file == self.store.entry_file:
            assert served.entry.digest is not None
            self.client.index = int(served.entry.digest[7:], 16)

    def _fetch_index(self, promised: Promise) -> None:
        found = self._made(self.upstream.index)
        if kept(found, promised):
            self.store.index = found
            self.store.old[self.upstream.index] = self.upstream.index
        else:
            self.store.expired = True

    @rule(reachable=st.booleans())
    def the_package_is_asked_for(self, reachable: bool) -> None:
        index = self.store.index
        if self.client.index is None or index is None or index.digest is None:
            return
        promised = self._promise(int(index.digest[7:], 16), index.stored_at)
        decision = decide_package(self.store.package, [promised], PACKAGE, POLICY, self.now)
        if isinstance(decision, Fetch) and reachable:
            found = self._made(self.upstream.package)
            if kept(found, promised):
                self.store.package = found
            else:
                self.store.expired = True
        served = decide_package(self.store.package, [promised], PACKAGE, POLICY, self.now)
        if isinstance(served, Serve) and index.digest == "sha256:" + self._letter(self.client.index):
            assert served.entry.digest is not None
            self.client.package = int(served.entry.digest[7:], 16)

    @invariant()
    def no_client_has_a_mismatch(self) -> None:
        if self.client.index is not None:
            assert self.client.index == self.client.entry_file
        if self.client.package is not None:
            assert self.client.package == self.client.index

    @invariant()
    def an_archive_at_rest_is_had_within_two_runs(self) -> None:
        """Whatever happened before: when it stays as it is, the second run is served all of it."""
        kept_aside = replace(self.store, old=dict(self.store.old)), self.client, self.now, replace(self.upstream)
        self.upstream = Upstream(self.generation, self.generation, self.generation)
        for _ in range(2):
            self.the_entry_file_is_asked_for(reachable=True)
            self.the_index_is_asked_for(reachable=True, by_hash=False)
            self.the_package_is_asked_for(reachable=True)
        got = self.client
        assert got.entry_file == got.index == got.package == self.generation or not self._was_stale(kept_aside[0], got)
        self.store, self.client, self.now, self.upstream = kept_aside

    @staticmethod
    def _was_stale(before: Store, got: Client) -> bool:
        """Whether the generation at hand could not be had any more (one that is fresh and whole may go on)."""
        return before.expired or got.package is None


TestChangingArchive = pytest.mark.whole(ChangingArchive.TestCase)
TestChangingArchive.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
