"""What is given up: never a root or an upload's blob, least recently used first, as little as possible."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from millpond.artifacts.eviction import Candidate, Limits, choose, excess


def candidate(number: int, digest: str, size: int, sharers: int = 1) -> Candidate:
    return Candidate(number, "files", str(number), digest, size, sharers, float(number))


@st.composite
def stores(draw: st.DrawFn):
    """Draw a store: the cached entries by last use, digests that uploads share, roots, and how much must go."""
    count = draw(st.integers(1, 12))
    sizes = {f"d{number}": draw(st.integers(0, 100)) for number in range(count)}
    digests = draw(st.lists(st.sampled_from(sorted(sizes)), max_size=30))
    uploads = draw(st.sets(st.sampled_from(sorted(sizes))))
    roots = draw(st.sets(st.sampled_from(sorted(sizes)), max_size=3))
    shared = Counter(digests) + Counter(uploads)
    entries = [candidate(number, digest, sizes[digest], shared[digest]) for number, digest in enumerate(digests)]
    return entries, uploads, roots, draw(st.integers(0, 600))


@given(stores())
def test_roots_and_uploads_are_never_given_up(store):
    entries, uploads, roots, need = store
    for group in choose(entries, need, roots):
        assert group[0].digest not in roots | uploads


@given(stores())
def test_each_group_is_a_whole_blob_with_all_its_entries(store):
    entries, _, roots, need = store
    for group in choose(entries, need, roots):
        assert [one for one in entries if one.digest == group[0].digest] == list(group)


@given(stores())
def test_enough_is_freed_if_that_is_possible_and_no_blob_more(store):
    entries, uploads, roots, need = store
    groups = list(choose(entries, need, roots))
    freed = sum(group[0].size for group in groups)
    freeable = {one.digest: one.size for one in entries if one.digest not in roots | uploads}
    assert freed >= min(need, sum(freeable.values()))
    if groups:
        assert freed - groups[-1][0].size < need


@given(stores())
def test_what_was_used_later_stays_longer(store):
    entries, uploads, roots, need = store
    gone = [group[0].digest for group in choose(entries, need, roots)]
    last_use = {one.digest: one.last_used for one in entries}  # of entries in their order: the latest wins
    kept = set(last_use) - set(gone) - roots - uploads
    assert gone == sorted(gone, key=last_use.__getitem__)
    assert all(last_use[digest] < last_use[other] for digest in gone for other in kept)


def test_no_more_is_read_than_is_needed():
    read = []

    def candidates():
        for number in range(1000):
            read.append(number)
            yield candidate(number, f"d{number}", 10)

    assert len(list(choose(candidates(), 35))) == 4
    assert len(read) <= 5


def test_nothing_must_go_below_the_high_watermark_and_then_down_to_the_low_one():
    limits = Limits(1000, 0.9, 0.7)
    assert [excess(total, limits) for total in (0, 900, 901, 1000, 5000)] == [0, 0, 201, 300, 4300]


def test_without_a_limit_nothing_ever_goes():
    assert excess(10**15, Limits(None)) == 0


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1), st.floats(0, 1))
def test_any_watermarks_give_a_sensible_need(total: int, most: int, high: float, low: float):
    need = excess(total, Limits(most, high, low))
    assert 0 <= need <= total
    if total > most:
        assert total - need <= most
