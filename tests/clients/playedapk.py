"""Goes through the steps of ``apk update``, ``fetch`` and ``add``, for machines that have no apk. This is not apk.

By apk-tools' own description and behaviour (2.14): an index is asked for with the time of its last download in
If-Modified-Since, kept under the hash of its address, and believed only if a key that is trusted by name signed it; a
package is named by its control segment (``C:``), whose ``datahash`` vouches for the rest. It needs nothing but the
standard library and `openssl`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from email.utils import formatdate
from pathlib import Path


class Failed(Exception):
    """What apk would print."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def segments(body: bytes) -> list[bytes]:
    """Cut a file into its gzip streams, as they lie in it."""
    found = []
    while body:
        inner = zlib.decompressobj(wbits=31)
        inner.decompress(body)
        if not inner.eof:
            raise Failed("BAD archive")
        found.append(body[: len(body) - len(inner.unused_data)])
        body = inner.unused_data
    return found


def files(*streams: bytes) -> dict[str, bytes]:
    plain = b"".join(zlib.decompress(stream, wbits=31) for stream in streams) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]


def ask(url: str, timeout_s: float, since: float | None = None) -> bytes | None:
    """Download; None: not modified since."""
    headers = {"User-Agent": "libfetch/2.0"}
    if since is not None:
        headers["If-Modified-Since"] = formatdate(since, usegmt=True)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s) as reply:
            return reply.read()
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return None
        raise Failed(f"HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        raise Failed(f"network error: {error}") from error


class Machine:
    def __init__(self, options: argparse.Namespace) -> None:
        self.root, self.options = Path(options.root), options
        lines = (self.root / "etc/apk/repositories").read_text().split("\n")
        self.repositories = [f"{line.strip()}/{options.arch}" for line in lines if line and line[0] not in "#@"]

    def cached(self, repository: str) -> Path:
        named = hashlib.sha1(repository.encode()).hexdigest()[:8]
        return self.root / f"var/cache/apk/APKINDEX.{named}.tar.gz"

    def update(self) -> None:
        for repository in self.repositories:
            file = self.cached(repository)
            say(f"fetch {repository}/APKINDEX.tar.gz")
            since = file.stat().st_mtime if file.exists() else None
            body = ask(f"{repository}/APKINDEX.tar.gz", self.options.timeout, since)
            if body is None:
                os.utime(file)
                continue
            self.trusted(body)
            new = file.with_suffix(".new")
            new.write_bytes(body)
            new.replace(file)

    def trusted(self, body: bytes) -> None:
        """Check a signature over all that stands behind it (apk-v2(5))."""
        first, *_ = segments(body)
        for name, signature in files(first).items():
            key = self.root / "etc/apk/keys" / name.removeprefix(".SIGN.RSA.")
            if not name.startswith(".SIGN.RSA.") or not key.exists():
                continue
            with tempfile.NamedTemporaryFile() as held:
                held.write(signature)
                held.flush()
                argv = ["openssl", "dgst", "-sha1", "-verify", str(key), "-signature", held.name]
                if subprocess.run(argv, input=body[len(first) :], capture_output=True, check=False).returncode == 0:
                    return
            raise Failed("BAD signature")
        raise Failed("UNTRUSTED signature")

    def known(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Read the indexes in the cache: where each package lies, and what is said of it; of a name the last counts."""
        found = {}
        for repository in self.repositories:
            if not self.cached(repository).exists():
                continue
            text = files(*segments(self.cached(repository).read_bytes()))["APKINDEX"].decode()
            for stanza in text.split("\n\n"):
                said = dict(line.split(":", 1) for line in stanza.split("\n") if line)
                if said:
                    found[said["P"]] = (f"{repository}/{said['P']}-{said['V']}.apk", said)
        return found

    def download(self, name: str) -> tuple[str, bytes, bytes]:
        """Download a package and check it; gives its file's name, its bytes, and its data segment."""
        if name not in self.known():
            raise Failed(f"{name}: unable to select package (or its dependencies)")
        url, said = self.known()[name]
        say(f"Downloading {name}-{said['V']}")
        body = ask(url, self.options.timeout) or b""
        streams = segments(body)
        control = next((one for one in streams if ".PKGINFO" in files(one)), b"")
        data = body[body.index(control) + len(control) :]
        if "Q1" + base64.b64encode(hashlib.sha1(control).digest()).decode() != said["C"]:
            raise Failed(f"{name}: BAD signature: it is not the package that the index names")
        told = dict(line.split(" = ", 1) for line in files(control)[".PKGINFO"].decode().split("\n") if " = " in line)
        if hashlib.sha256(data).hexdigest() != told["datahash"]:
            raise Failed(f"{name}: BAD signature: its data is not what it says")
        return url.rpartition("/")[2], body, data

    def fetch(self, names: list[str]) -> None:
        for name in names:
            filename, body, _ = self.download(name)
            (Path(self.options.output) / filename).write_bytes(body)

    def add(self, names: list[str]) -> None:
        for name in names:
            for path, body in files(self.download(name)[2]).items():
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).write_bytes(body)


def main() -> int:
    parser = argparse.ArgumentParser()
    for option in ("--root", "--arch"):
        parser.add_argument(option, required=True)
    parser.add_argument("--timeout", type=float, default=60.0)
    for flag in ("--no-network", "--update-cache", "--initdb", "-u"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("command", choices=["update", "fetch", "add"])
    parser.add_argument("-o", dest="output")
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    machine = Machine(options)
    try:
        if options.command == "update":
            machine.update()
        elif options.command == "fetch":
            machine.fetch(options.names)
        else:
            machine.add(options.names)
    except Failed as error:
        say(f"ERROR: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
