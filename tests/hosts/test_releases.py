"""Releases in the database: what each change of state does, and who may make it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from millpond.db import Database
from millpond.errors import Busy, MillpondError
from millpond.hosts.apps import AppKind
from millpond.hosts.release import Release, State, checksum_of
from millpond.hosts.releases import LOST, RELEASES, ReleaseRoots, Releases
from millpond.testing.clock import FakeClock

DOCUMENT = '{"services": {"web": {"image": "x"}}}'
NEW = Release(
    "shop", 0, State.PREPARED, AppKind.COMPOSE, checksum_of(DOCUMENT), ("web1", "web2"), {"web": "i1"}, by="ann",
    commit="c0ffee", sets={"V": "1"}, fence=7,
)  # fmt: skip


@pytest.fixture
def releases(db: Database, clock: FakeClock) -> Releases:
    return Releases(db, clock)


async def test_a_release_comes_back_as_it_was_recorded(releases: Releases, clock: FakeClock):
    made = await releases.begin(NEW, DOCUMENT)
    assert (made.number, made.created_at) == (1, clock.now())
    made = await releases.deploying(made)
    made = await releases.note(made, {"web1": "done"})
    made = await releases.failed(made, "no", ("a", "b"))
    assert await releases.of("shop") == [made]
    assert await releases.document(made) == DOCUMENT
    assert (made.state, made.progress, made.details) == (State.FAILED, {"web1": "done"}, ("a", "b"))
    assert (await releases.begin(NEW, DOCUMENT)).number == 2
    other = await releases.begin(replace(NEW, app="other"), DOCUMENT)
    assert (other.number, len(await releases.latest(10)), len(await releases.latest(1, "shop"))) == (1, 3, 1)


async def test_a_number_is_never_given_twice_even_if_the_latest_are_forgotten(releases: Releases):
    for _ in range(3):
        made = await releases.activate(await releases.deploying(await releases.begin(NEW, DOCUMENT)))
        await releases.forget("shop", 1)
    assert [one.number for one in await releases.of("shop")] == [3]
    assert made.number == 3


async def test_only_one_is_active(releases: Releases):
    first = await releases.activate(await releases.deploying(await releases.begin(NEW, DOCUMENT)))
    second = await releases.activate(await releases.deploying(await releases.begin(NEW, DOCUMENT)))
    assert [one.state for one in await releases.of("shop")] == [State.SUPERSEDED, State.ACTIVE]
    back = await releases.begin(replace(NEW, restores=first.number), DOCUMENT)
    await releases.activate(await releases.deploying(back))
    states = {one.number: one.state for one in await releases.of("shop")}
    assert states == {1: State.SUPERSEDED, second.number: State.ROLLED_BACK, 3: State.ACTIVE}


async def test_who_lost_the_lease_changes_nothing(releases: Releases):
    made = await releases.deploying(await releases.begin(NEW, DOCUMENT))
    await releases.recover("shop")
    for change in (releases.note(made, {}), releases.failed(made, "x"), releases.activate(made)):
        with pytest.raises(Busy, match="another run took over"):
            await change
    (found,) = await releases.of("shop")
    assert (found.state, found.error) == (State.INTERRUPTED, LOST)
    other = await releases.begin(NEW, DOCUMENT)
    with pytest.raises(Busy):
        await releases.deploying(replace(other, fence=6))


async def test_states_go_only_forward(releases: Releases):
    made = await releases.begin(NEW, DOCUMENT)
    with pytest.raises(Busy):
        await releases.activate(made)
    deploying = await releases.deploying(made)
    with pytest.raises(Busy):
        await releases.deploying(made)
    await releases.failed(deploying, "x")
    with pytest.raises(Busy):
        await releases.activate(deploying)


async def test_a_document_that_is_not_what_was_recorded_is_refused(releases: Releases, db: Database):
    made = await releases.begin(NEW, DOCUMENT)
    await db.write(lambda connection: connection.execute(sa.update(RELEASES).values(document="{}")))
    with pytest.raises(MillpondError, match="is damaged or gone"):
        await releases.document(made)


async def test_what_is_under_way_and_what_runs_are_roots_on_their_hosts(releases: Releases, db: Database):
    roots = ReleaseRoots(db, ["shop"])
    made = await releases.begin(NEW, DOCUMENT)
    assert await roots.protected("web1") == {"i1"}
    assert await roots.protected("web3") == set()
    assert await ReleaseRoots(db, ["other"]).protected("web1") == set(), "an app that is not configured keeps nothing"
    await releases.failed(made, "x")
    assert await roots.protected("web1") == set()
