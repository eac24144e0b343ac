"""An entry file and its detached signature are of one moment."""

from __future__ import annotations

import hashlib

import pytest
from tests.archives import Archive, Deb, config

from millpond.testing.behaviours import status

TTL_S = 60
RELEASE, SIGNATURE = "/debian/dists/stable/Release", "/debian/dists/stable/Release.gpg"
PLACE = "/archive/dists/stable/Release"


def sign(text: bytes, _: bool) -> bytes:
    """Sign in a way that the test can read: the signature names what it signs."""
    named = hashlib.sha256(text).hexdigest().encode()
    return b"-----BEGIN PGP SIGNATURE-----\n\n" + named + b"\n-----END PGP SIGNATURE-----\n"


@pytest.fixture
async def archive(origin):
    made = Archive(origin, split=True, sign=sign)
    made.publish(Deb(), Deb("other"))
    return made


@pytest.fixture
async def pond(open_pond, archive):
    return await open_pond(config(archive, ttl_s=TTL_S))


async def pair(pond) -> tuple[bytes, bytes]:
    release, signature = await pond.get(RELEASE), await pond.get(SIGNATURE)
    assert (release.status, signature.status) == (200, 200)
    assert signature.body == sign(release.body, False)
    return release.body, signature.body


async def test_they_come_together_and_the_signature_is_not_asked_for_again(pond, archive):
    await pair(pond)
    assert (archive.asked("dists/stable/Release"), archive.asked("dists/stable/Release.gpg")) == (2, 1)
    pond.clock.advance(TTL_S * 100)
    assert (await pond.get(SIGNATURE)).headers["cache-status"] == "millpond; hit"
    assert archive.asked("dists/stable/Release.gpg") == 1


async def test_a_signature_asked_for_alone_brings_the_file_along(pond, archive):
    assert (await pond.get(SIGNATURE)).body == sign(archive.release(), False)
    asked = archive.asked("dists/stable/Release")
    assert (await pond.get(RELEASE)).body == archive.release()
    assert archive.asked("dists/stable/Release") == asked


async def test_they_are_replaced_together(pond, archive):
    old = await pair(pond)
    archive.publish(Deb(version="2.0"))
    assert await pair(pond) == old
    pond.clock.advance(TTL_S + 1)
    assert await pair(pond) != old


async def test_an_upstream_that_changes_in_between_is_never_taken_apart(pond, archive, origin):
    old = await pair(pond)
    archive.publish(Deb(version="2.0"))
    hold = origin.hold("/archive/dists/stable/Release.gpg", -1)
    pond.clock.advance(TTL_S + 1)
    repository = pond.app.repositories["debian"]
    flight, _ = repository.join(repository.resolve("dists/stable/Release", "", ""), "")
    await hold.reached()
    archive.publish(Deb(version="3.0"))
    hold.release()
    await flight.ended()
    flight.release()
    assert await pair(pond) in {old, (archive.release(), sign(archive.release(), False))}
    pond.clock.advance(TTL_S + 1)
    assert (await pair(pond))[0] == archive.release()


async def test_cold_a_change_in_between_is_told_in_words(pond, archive, origin):
    hold = origin.hold("/archive/dists/stable/Release.gpg", -1)
    repository = pond.app.repositories["debian"]
    flight, _ = repository.join(repository.resolve("dists/stable/Release", "", ""), "")
    await hold.reached()
    archive.publish(Deb(version="3.0"))
    hold.release()
    await flight.ended()
    flight.release()
    assert flight.outcome.status == 503
    assert (await pair(pond))[0] == archive.release()


async def test_no_signature_is_a_state_of_the_pair(pond, archive, origin):
    origin.remove("/archive/dists/stable/Release.gpg")
    assert (await pond.get(RELEASE)).status == 200
    asked = archive.asked("dists/stable/Release.gpg")
    assert (await pond.get(SIGNATURE)).status == 404
    assert archive.asked("dists/stable/Release.gpg") == asked
    archive.publish()
    pond.clock.advance(TTL_S + 1)
    await pair(pond)


async def test_a_file_that_was_signed_anew_gets_its_new_signature(pond, archive, origin):
    release, _ = await pair(pond)
    again = b"-----BEGIN PGP SIGNATURE-----\n\nanother key\n-----END PGP SIGNATURE-----\n"
    origin.put("/archive/dists/stable/Release.gpg", again)
    pond.clock.advance(TTL_S + 1)
    assert (await pond.get(RELEASE)).body == release
    assert (await pond.get(SIGNATURE)).body == again


@pytest.mark.parametrize("fault", [status(500), status(429)])
async def test_without_the_signature_the_old_pair_goes_on(pond, archive, origin, fault):
    old = await pair(pond)
    archive.publish(Deb(version="2.0"))
    origin.always("/archive/dists/stable/Release.gpg", fault)
    pond.clock.advance(TTL_S + 1)
    assert await pair(pond) == old


async def test_what_is_no_signature_is_refused(pond, archive, origin):
    origin.put("/archive/dists/stable/Release.gpg", b"<html>please log in</html>")
    assert (await pond.get(SIGNATURE)).status == 502
    assert (await pond.get(RELEASE)).status == 502
