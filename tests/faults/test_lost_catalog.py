"""The catalog is lost, or damaged, while the daemon is down: uploads and cached files come back."""

from __future__ import annotations

import time

import pytest
from tests.faults.traffic import admin, blobs, content, entries, fetch, operate, sha256, upload
from tests.wheels import JSON_TYPE, Wheel, publish

from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.fault
CONFIG = """
[database]
backup_interval_s = {backup_s}
[storage]
collect_grace_s = 0
[repositories.pypi]
package = "pypi"
base_url = "{index}/simple"
trusted_origins = ["{files}"]
[repositories.other]
package = "pypi"
base_url = "{index}/other"
trusted_origins = ["{files}"]
[repositories.files]
package = "generic"
base_url = "{files}/plain"
immutable_patterns = [".*"]
[repositories.kept]
package = "generic"
type = "local"
allow_overwrite = true
"""
WHEEL = Wheel("demo", "1.0", payload=content("wheel", 300_000))
WHEEL_PATH = f"/pypi/files/demo/{WHEEL.filename}"
UPLOADS = {f"folder {number}/ü{number}.bin": content(f"upload {number}", 1000 * number) for number in range(1, 21)}
QUOTED = {f"folder%20{number}/%C3%BC{number}.bin": body for number, body in enumerate(UPLOADS.values(), 1)}


@pytest.fixture
def pond(make_pond, upstream, files_host):
    made = make_pond(CONFIG.format(index=upstream.url, files=files_host.url, backup_s=3600))
    fill(made, upstream, files_host)
    return made


def fill(pond, upstream, files_host):
    publish(upstream, files_host, WHEEL, as_json=True)
    files_host.put("/plain/a.bin", content("plain", 50_000))
    for path, body in QUOTED.items():
        assert upload(pond, f"kept/{path}", body).status == 201
    assert upload(pond, "kept/folder%201/%C3%BC1.bin", b"newer").status == 201
    assert upload(pond, "kept/gone.bin", b"deleted before").status == 201
    assert fetch(pond, "/api/v1/remote/kept/gone.bin", method="DELETE", headers=admin(pond)).status == 204
    assert fetch(pond, "/pypi/simple/demo/", headers={"Accept": JSON_TYPE}).status == 200
    assert fetch(pond, WHEEL_PATH).body == WHEEL.body
    assert fetch(pond, "/files/a.bin").status == 200


def lose(pond: PondProcess) -> None:
    for path in pond.data.glob("catalog.sqlite*"):
        path.unlink()


def damage(pond: PondProcess) -> None:
    file = pond.data / "catalog.sqlite"
    for side in ("-wal", "-shm"):
        file.with_name(file.name + side).unlink(missing_ok=True)
    file.write_bytes(b"this is no database\n" * 500)


def uploads_are_whole(pond: PondProcess) -> None:
    expected = QUOTED | {"folder%201/%C3%BC1.bin": b"newer"}
    for path, body in expected.items():
        seen = fetch(pond, f"/kept/{path}")
        assert (seen.status, seen.body) == (200, body), path
    assert fetch(pond, "/kept/gone.bin").status == 404
    assert len(entries(pond, "kept")) == len(expected)


def test_a_lost_catalog_is_repaired(pond, upstream, files_host):
    asked = files_host.count(f"/packages/{WHEEL.filename}")
    pond.stop()
    lose(pond)
    told = pond.command("fsck", "--repair", check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    pond.start()
    uploads_are_whole(pond)
    seen = fetch(pond, WHEEL_PATH)
    assert (seen.status, seen.body) == (200, WHEEL.body)
    assert files_host.count(f"/packages/{WHEEL.filename}") == asked, "it was downloaded although its blob is here"
    assert operate(pond, "fsck") | {"blobs": 0, "bytes": 0} == {
        "blobs": 0, "bytes": 0, "kinds": {}, "ok": True, "problems": [], "unrepaired": 0,
    }  # fmt: skip
    operate(pond, "gc")
    assert fetch(pond, WHEEL_PATH).body == WHEEL.body
    uploads_are_whole(pond)


def test_a_start_without_the_catalog_loses_nothing_that_a_repair_brings_back(pond, files_host):
    """The daemon is started, and even collects, before anybody notices: unknown files are left alone."""
    pond.stop()
    lose(pond)
    before = blobs(pond)
    pond.start()
    assert fetch(pond, "/kept/folder%201/%C3%BC1.bin").status == 404
    report = operate(pond, "gc")
    assert "fsck --repair" in report["held"]
    assert blobs(pond) >= before
    found = operate(pond, "fsck")
    assert not found["ok"]
    assert operate(pond, "fsck", repair=True)["ok"]
    uploads_are_whole(pond)


def test_a_blob_is_no_permission(pond, upstream, files_host):
    """An index that names the digest of somebody else's upload does not get at its bytes."""
    secret = Wheel("secret", "1.0", payload=content("secret", 5000))
    assert upload(pond, f"kept/{secret.filename}", secret.body).status == 201
    publish(upstream, files_host, secret, as_json=True)
    files_host.remove(f"/packages/{secret.filename}")
    pond.stop()
    lose(pond)
    assert pond.command("fsck", "--repair", check=False).returncode == 0
    pond.start()
    seen = fetch(pond, f"/pypi/files/secret/{secret.filename}")
    assert seen.status == 404
    assert secret.body not in seen.body


def test_a_blob_that_went_bad_meanwhile_is_not_found_again(pond, upstream, files_host):
    asked = files_host.count(f"/packages/{WHEEL.filename}")
    pond.stop()
    lose(pond)
    blob = next(path for path in (pond.data / "storage" / "blobs").rglob(WHEEL.sha256))
    bad = bytearray(blob.read_bytes())
    bad[1000] ^= 1
    blob.write_bytes(bad)
    pond.command("fsck", "--repair", check=False)
    pond.start()
    seen = fetch(pond, WHEEL_PATH)
    assert (seen.status, seen.body) == (200, WHEEL.body)
    assert files_host.count(f"/packages/{WHEEL.filename}") == asked + 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_catalog_stops_the_start_with_what_to_do(pond, workers):
    pond.stop()
    damage(pond)
    pond.workers = workers
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="did not start"):
        pond.start()
    log = pond.log.read_text()
    assert time.monotonic() - began < 20, "it kept trying"
    assert "catalog.sqlite" in log
    assert "fsck --repair" in log
    assert "Traceback" not in log


def test_a_damaged_catalog_without_a_backup_is_repaired(pond, files_host):
    asked = files_host.count(f"/packages/{WHEEL.filename}")
    pond.stop()
    damage(pond)
    for backup in (pond.data / "backups").glob("*"):
        backup.unlink()
    told = pond.command("fsck", "--repair", check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert list(pond.data.glob("catalog.sqlite.damaged-*")), "the damaged file is kept"
    pond.start()
    uploads_are_whole(pond)
    assert fetch(pond, WHEEL_PATH).body == WHEEL.body
    assert files_host.count(f"/packages/{WHEEL.filename}") == asked


def test_a_damaged_catalog_is_restored_from_its_backup_and_the_records_after_it(make_pond, upstream, files_host):
    pond = make_pond(CONFIG.format(index=upstream.url, files=files_host.url, backup_s=1))
    fill(pond, upstream, files_host)
    made = set((pond.data / "backups").glob("*.sqlite3"))
    deadline = time.monotonic() + 60
    # The first new one may have been begun before the last commit; the second was not.
    while len(set((pond.data / "backups").glob("*.sqlite3")) - made) < 2:
        assert time.monotonic() < deadline, "no backup was made"
        time.sleep(0.05)
    assert upload(pond, "kept/late.bin", b"after the backup").status == 201
    pond.kill()
    damage(pond)
    told = pond.command("fsck", "--repair", check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    upstream.cut_now()
    files_host.cut_now()
    pond.start()
    assert fetch(pond, "/kept/late.bin").body == b"after the backup"
    assert fetch(pond, "/files/a.bin").body == content("plain", 50_000), "the backup knew it"
    assert sha256(fetch(pond, WHEEL_PATH).body) == WHEEL.sha256
