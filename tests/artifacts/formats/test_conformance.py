"""Every format that is there passes the shipped suite."""

from __future__ import annotations

from tests import repodata
from tests.apks import Apk
from tests.apks import index as apkindex

from millpond.artifacts.formats import BUILT_IN, FORMATS
from millpond.artifacts.formats.alpine import Alpine
from millpond.artifacts.formats.debian import Debian
from millpond.artifacts.formats.docker import Docker
from millpond.artifacts.formats.generic import Generic
from millpond.artifacts.formats.npm import Npm
from millpond.artifacts.formats.pypi import PyPI
from millpond.artifacts.formats.rpm import Rpm
from millpond.testing.formats import FormatSuite, Sample
from millpond.testing.upstream import FakeUpstream

from .debian import archive
from .npm import packuments
from .pypi import pages

DIGEST = "sha256:" + "0a" * 32
FOREIGN = (b"index.example", b"files.example", b"javascript")


class TestGeneric(FormatSuite):
    format = Generic()
    paths = ("a", "a/b.tar.gz", "dir/", "größe/x.json")


class TestDocker(FormatSuite):
    format = Docker()
    paths = (
        "library/demo/manifests/latest", f"demo/manifests/{DIGEST}", f"a/b/c/blobs/{DIGEST}", "demo/tags/list",
        f"demo/referrers/{DIGEST}",
    )  # fmt: skip


class TestAlpine(FormatSuite):
    format = Alpine()
    paths = (
        "v3.20/main/x86_64/APKINDEX.tar.gz", "v3.20/main/x86_64/gtk+3.0-3.24.42-r0.apk", "APKINDEX.tar.gz", "a-1.apk",
        "edge/main/aarch64/Packages.adb", "MIRRORS.txt", "v3.20/releases/x86_64/alpine-minirootfs-3.20.1.tar.gz",
    )  # fmt: skip
    samples = (
        Sample(
            "v3.20/main/x86_64/APKINDEX.tar.gz", "", apkindex(Apk(), Apk("other")), "http://mirror.example/x",
            members=("v3.20/main/x86_64/hello-1.0-r0.apk", "v3.20/main/x86_64/other-1.0-r0.apk"),
        ),
    )  # fmt: skip


class TestDebian(FormatSuite):
    format = Debian()
    paths = (
        "dists/stable/InRelease", "dists/stable/Release", "dists/stable/Release.gpg",
        "dists/stable/main/binary-amd64/Packages.xz", "dists/stable/updates/main/source/Sources.gz",
        "dists/stable/main/binary-amd64/by-hash/SHA256/" + "ab" * 32, "by-hash/MD5Sum/" + "ab" * 16,
        "dists/stable/main/binary-amd64/Packages.diff/2024-01-01-0200.00.gz", archive.DEB, "pool/g/g++_1~2+b1_all.deb",
        "InRelease", "Packages", "key.asc", "flat/x_1_all.deb",
    )  # fmt: skip
    samples = (
        Sample(
            "dists/stable/InRelease", "", archive.INRELEASE, "http://archive.example/dists/stable/InRelease",
            members=("dists/stable/main/binary-amd64/Packages.xz", "dists/stable/main/source/Sources.xz"),
        ),
        Sample(
            "dists/stable/Release", "", archive.RELEASE, "http://archive.example/dists/stable/Release",
            members=("dists/stable/main/binary-amd64/Packages.gz",),
        ),
        Sample(
            "dists/stable/main/binary-amd64/Packages.gz", "", archive.MEMBERS["main/binary-amd64/Packages.gz"],
            "http://archive.example/x", members=(archive.DEB, archive.UDEB),
        ),
        Sample(
            "dists/stable/main/source/Sources.xz", "", archive.MEMBERS["main/source/Sources.xz"],
            "http://archive.example/x", members=("pool/main/h/hello/hello_1.0.dsc",),
        ),
    )  # fmt: skip


class TestPyPI(FormatSuite):
    format = PyPI()
    paths = ("simple/", "simple/foo-bar/", f"files/foo-bar/{pages.WHEEL}", f"files/foo-bar/{pages.WHEEL}.metadata")
    samples = (
        Sample(
            "simple/foo-bar/", "text/html; charset=utf-8", pages.HTML, pages.SOURCE, foreign=FOREIGN,
            members=(pages.WHEEL, f"{pages.WHEEL}.metadata", pages.SDIST, f"{pages.SDIST}.asc", "foo-bar-0.9.zip"),
        ),
        Sample(
            "simple/foo-bar/", pages.JSON_TYPE, pages.JSON, pages.SOURCE, accept=pages.JSON_TYPE, foreign=FOREIGN,
            members=(pages.WHEEL, f"{pages.WHEEL}.metadata", pages.SDIST, f"{pages.SDIST}.asc"),
        ),
        # Asked for JSON, and answered in HTML all the same.
        Sample("simple/foo-bar/", "text/html", pages.HTML, pages.SOURCE, pages.JSON_TYPE, FOREIGN, (pages.WHEEL,)),
        Sample("simple/", "text/html", pages.ROOT_HTML, pages.ROOT_SOURCE, foreign=FOREIGN),
        Sample("simple/", pages.JSON_TYPE, pages.ROOT_JSON, pages.ROOT_SOURCE, pages.JSON_TYPE, FOREIGN),
    )  # fmt: skip


class TestNpm(FormatSuite):
    format = Npm()
    paths = (
        "left-pad",
        "@scope/thing",
        "JSONStream",
        "-",
        "left-pad/1.0.0",
        "@scope/thing/latest",
        "-/package/left-pad/dist-tags",
        "left-pad/-/left-pad-1.0.0.tgz",
        "@scope/thing/-/thing-1.0.0.tgz",
        "@scope/thing/-/@scope/thing-1.0.0.tgz",
        "files/@scope/thing/thing-1.0.0.tgz",
        "files/left-pad/left-pad-1.0.0.tgz",
        "files/-/files-1.0.0.tgz",
        "-/npm/v1/keys",
        "-/npm/v1/attestations/@scope/thing@1.0.0",
    )
    samples = (
        Sample(
            "@scope/thing", "application/json", packuments.FULL, packuments.SOURCE, foreign=packuments.FOREIGN,
            members=("thing-1.0.0.tgz", "thing-2.0.0-rc.1.tgz", "odd-name.tgz"),
        ),
        Sample(
            "@scope/thing", packuments.ABBREVIATED_TYPE, packuments.ABBREVIATED, packuments.SOURCE,
            packuments.ABBREVIATED_TYPE, packuments.FOREIGN, ("thing-1.0.0.tgz",),
        ),
        Sample("@scope/thing/latest", "application/json", packuments.FULL, packuments.SOURCE, "", packuments.FOREIGN),
        Sample("-/package/@scope/thing/dist-tags", "application/json", packuments.FULL, packuments.SOURCE),
    )  # fmt: skip


RPMS = repodata.Repository(FakeUpstream())
RPMS.publish(repodata.Rpm(), repodata.Rpm("other"))
LISTS_FOREIGN = (b"mirror.example", b"publisher.example", b"rsync:")


class TestRpm(FormatSuite):
    format = Rpm()
    paths = (
        "repodata/repomd.xml", "9/BaseOS/os/repodata/repomd.xml.asc", "repodata/repomd.xml.key", RPMS.path(),
        "os/repodata/filelists.xml.zst", "os/repodata/primary.sqlite.bz2", "os/Packages/g/g++-1.0~2^3-1.x86_64.rpm",
        "drpms/a-1_2.noarch.drpm", "mirrorlist", "os/metalink", "RPM-GPG-KEY-example", "images/pxeboot/vmlinuz",
    )  # fmt: skip
    samples = (
        Sample("repodata/repomd.xml", "", RPMS.entry, "http://repo.example/x", members=(RPMS.path(),)),
        Sample(
            RPMS.path(), "", RPMS.members[RPMS.path()], "http://repo.example/x",
            members=("Packages/hello-1.0-1.noarch.rpm", "Packages/other-1.0-1.noarch.rpm"),
        ),
        Sample(
            "os/repodata/primary.xml", "", repodata.primary([repodata.Rpm()], "a/"), "http://repo.example/x",
            members=("os/a/hello-1.0-1.noarch.rpm",),
        ),
        Sample(
            "os/metalink", "application/metalink+xml", repodata.metalink(RPMS.entry, ["http://mirror.example/os/"]),
            "http://list.example/metalink", foreign=LISTS_FOREIGN, members=("os/repodata/repomd.xml",),
        ),
        Sample(
            "os/mirrorlist", "text/plain", b"# x\nhttp://mirror.example/os\nrsync://mirror.example/os\n",
            "http://list.example/mirrorlist", foreign=LISTS_FOREIGN,
        ),
    )  # fmt: skip


def test_every_built_in_format_is_held_against_the_suite():
    held = {suite.format.name for suite in FormatSuite.__subclasses__()}
    assert held == {one.name for one in BUILT_IN}
    assert set(FORMATS) >= held
