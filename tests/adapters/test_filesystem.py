"""The blob store in a folder: the conformance suite, and what only files can show."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from millpond.adapters.filesystem import FilesystemStore
from millpond.artifacts.ports import BlobStore
from millpond.testing.blobstore import BlobStoreConformance
from millpond.testing.storage import digest_of

CONTENT = b"content"
SHM = Path("/dev/shm")


def spool(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "spool"
    path.write_bytes(content)
    return path


class TestConformance(BlobStoreConformance):
    def make_store(self, folder: Path) -> BlobStore:
        return FilesystemStore(folder / "storage")


def test_files_are_named_by_their_hash_alone_and_not_for_everybody(tmp_path: Path):
    store = FilesystemStore(tmp_path / "storage")
    store.place(spool(tmp_path), digest_of(CONTENT))
    hexadecimal = digest_of(CONTENT).removeprefix("sha256:")
    path = tmp_path / "storage" / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal
    assert store.path(digest_of(CONTENT)) == path
    assert path.stat().st_mode & 0o777 == 0o640


def test_durable_syncs_bytes_before_the_rename_and_the_folders_after(tmp_path: Path, monkeypatch):
    store = FilesystemStore(tmp_path / "storage")
    happened: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (happened.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real_sync(fd))
    )
    monkeypatch.setattr(Path, "replace", lambda self, to: (real_replace(self, to), happened.append("rename"))[0])
    store.place(spool(tmp_path), digest_of(CONTENT), durable=True)
    target = store.path(digest_of(CONTENT))
    assert happened == [str(tmp_path / "spool"), "rename", str(target.parent), str(target.parent.parent)]
    happened.clear()
    store.place(spool(tmp_path), digest_of(CONTENT))
    assert happened == ["rename"]


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="there is no second file system to spool on")
@pytest.mark.parametrize("durable", [False, True])
def test_a_spool_file_on_another_file_system_is_copied_then_renamed(tmp_path: Path, durable: bool):
    if SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("temporary files lie in memory here: there is no second file system")
    store = FilesystemStore(tmp_path / "storage")
    away = SHM / f"millpond-test-{os.getpid()}-{durable}"
    away.write_bytes(CONTENT)
    try:
        store.place(away, digest_of(CONTENT), durable=durable)
        assert store.path(digest_of(CONTENT)).read_bytes() == CONTENT
        assert not away.exists()
        assert list((tmp_path / "storage" / "blobs" / "staged").iterdir()) == []
    finally:
        away.unlink(missing_ok=True)


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch):
    store = FilesystemStore(tmp_path / "storage")
    store._device = -1  # every spool file seems to be elsewhere

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="no space"):
        store.place(spool(tmp_path), digest_of(CONTENT))
    assert (tmp_path / "spool").exists()
    assert list((tmp_path / "storage" / "blobs" / "staged").iterdir()) == []
    assert list(store.walk()) == []


def test_sweeping_removes_old_copies_only(tmp_path: Path):
    store = FilesystemStore(tmp_path / "storage")
    staged = tmp_path / "storage" / "blobs" / "staged"
    (staged / "old").write_bytes(b"12345")
    (staged / "new").write_bytes(b"1")
    os.utime(staged / "old", (0, time.time() - 100))
    assert store.sweep(50, dry_run=True) == (1, 5)
    assert store.sweep(50) == (1, 5)
    assert [path.name for path in staged.iterdir()] == ["new"]


def test_walking_passes_by_what_is_no_blob(tmp_path: Path):
    store = FilesystemStore(tmp_path / "storage")
    store.place(spool(tmp_path), digest_of(CONTENT))
    folder = store.path(digest_of(CONTENT)).parent
    (folder / "stranger").write_bytes(b"")
    (folder / (folder.name + "0" * 62)).symlink_to("/etc/passwd")
    (folder / (folder.name + "1" * 62)).mkdir()
    (folder / ("f" * 64 if folder.name != "ff" else "0" * 64)).write_bytes(b"in the wrong folder")
    assert list(store.walk()) == [digest_of(CONTENT)]


def test_when_it_came_counts_not_when_it_was_written(tmp_path: Path):
    store = FilesystemStore(tmp_path / "storage")
    path = spool(tmp_path)
    os.utime(path, (0, 0))
    store.place(path, digest_of(CONTENT))
    found = store.stat(digest_of(CONTENT))
    assert found is not None
    assert found.stored_at > time.time() - 60
