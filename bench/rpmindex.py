"""The index of a large RPM repository, plain, so that its bytes are what the parser reads.

The origin serves it for any repository, each one cold, and a small file for every package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

INDEX_BYTES = 150_000_000
FILE, PACKAGE = "primary.xml", "package.rpm"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="x:common" xmlns:rpm="x:rpm" packages="1">\n'
END = "</metadata>\n"


def write(folder: Path, size: int = INDEX_BYTES) -> None:
    """Put both where the origin serves them; a package after the other until there are `size` bytes."""
    place = folder / FILE
    if place.exists():
        return
    (folder / PACKAGE).write_bytes(b"\xed\xab\xee\xdb" + bytes(996))
    with place.open("w") as file:
        written, number = file.write(HEAD) + len(END), 0
        while written < size:
            written += file.write(_package(number))
            number += 1
        file.write(END)


def _package(number: int) -> str:
    name, version = f"bench-{number}", f'epoch="0" ver="{number}" rel="1.el9"'
    digest = hashlib.sha256(name.encode()).hexdigest()
    entries = "".join(
        f'      <rpm:entry name="libbench-{number + n}.so.{n}()(64bit)" flags="GE" {version}/>\n' for n in range(14)
    )
    return f"""<package type="rpm">
  <name>{name}</name><arch>x86_64</arch><version {version}/>
  <checksum type="sha256" pkgid="YES">{digest}</checksum>
  <summary>{"s" * 40}</summary><description>{"d" * 400}</description>
  <packager>Somebody</packager><url>http://things.example/</url><time file="1" build="1"/>
  <size package="1000" installed="3000" archive="4000"/>
  <location href="Packages/b/{name}-1.x86_64.rpm"/>
  <format><rpm:license>MIT</rpm:license><rpm:header-range start="4504" end="9000"/>
    <rpm:provides>
{entries}    </rpm:provides>
    <file>/usr/bin/{name}</file>
  </format>
</package>
"""
