"""Documents as a Debian archive has them."""

from __future__ import annotations

import gzip
import hashlib
import lzma

SUITE = "dists/stable"
DEB = "pool/main/h/hello/hello_1.0_all.deb"
UDEB = "pool/main/h/hello/hello-udeb_1.0_amd64.udeb"
BODY = b"!<arch>\n" + bytes(range(256)) * 8
NAMES = (("md5", "MD5Sum"), ("sha1", "SHA1"), ("sha256", "SHA256"), ("sha512", "SHA512"))
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"


def hexdigest(algorithm: str, body: bytes) -> str:
    return hashlib.new(algorithm, body).hexdigest()


def stanza(path: str, body: bytes, *algorithms: str, version: str = "1.0") -> bytes:
    """Write a package's stanza."""
    fields = {"md5": "MD5sum", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}
    sums = "".join(f"{fields[one]}: {hexdigest(one, body)}\n" for one in algorithms or ("md5", "sha256"))
    name = path.rpartition("/")[2].partition("_")[0]
    lines = f"Package: {name}\nVersion: {version}\nDescription: a thing\n of several lines\n .\n SHA256: no field\n"
    return f"{lines}Filename: {path}\nSize: {len(body)}\n{sums}".encode()


def packages(*files: tuple[str, bytes]) -> bytes:
    return b"\n".join(stanza(path, body) for path, body in files)


def release(files: dict[str, bytes], *, by_hash: bool = True, names=NAMES, more: str = "") -> bytes:
    """Write an entry file; `files` are by their paths below the suite."""
    head = f"Origin: Test\nSuite: stable\nDate: Sat, 09 Mar 2030 10:00:00 UTC\n{more}"
    if by_hash:
        head += "Acquire-By-Hash: yes\n"
    for algorithm, name in names:
        lines = [f" {hexdigest(algorithm, body)} {len(body):8} {path}" for path, body in files.items()]
        head += "\n".join([f"{name}:", *lines]) + "\n"
    return head.encode()


def signed(text: bytes) -> bytes:
    """Make a clear-signed message (its signature is nobody's)."""
    escaped = b"\n".join(b"- " + line if line.startswith(b"-") else line for line in text.rstrip(b"\n").split(b"\n"))
    return b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + escaped + b"\n" + SIGNATURE


PACKAGES = packages((DEB, BODY), (UDEB, BODY * 2))
SOURCES = (
    b"Package: hello\nBinary: hello\nDirectory: pool/main/h/hello\nFiles:\n "
    + hexdigest("md5", BODY).encode()
    + b" %d hello_1.0.dsc\nChecksums-Sha256:\n " % len(BODY)
    + hexdigest("sha256", BODY).encode()
    + b" %d hello_1.0.dsc\n" % len(BODY)
)
MEMBERS = {
    "main/binary-amd64/Packages": PACKAGES,
    "main/binary-amd64/Packages.gz": gzip.compress(PACKAGES, mtime=0),
    "main/binary-amd64/Packages.xz": lzma.compress(PACKAGES),
    "main/source/Sources.xz": lzma.compress(SOURCES),
}
RELEASE = release(MEMBERS)
INRELEASE = signed(RELEASE)
