"""Pages of an index as upstreams send them; every host is made up."""

from __future__ import annotations

import json

SOURCE = "https://index.example/simple/foo-bar/"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
SHA = "a" * 64
META = "b" * 64
WHEEL = "foo_bar-1.0-py3-none-any.whl"
SDIST = "foo-bar-1.0.tar.gz"

# As an index that answers text/html to every Accept: absolute links on another host, upload times.
HTML = f"""<!DOCTYPE html>
<html>
  <head>
    <meta name="pypi:repository-version" content="1.1">
    <meta name="generator" content="https://index.example/">
    <title>Links for foo-bar</title>
    <link rel="stylesheet" href="https://index.example/style.css">
  </head>
  <body onload="https://index.example/">
    <h1>Links for foo-bar</h1>
    <a href="https://files.example/packages/ab/{WHEEL}#sha256={SHA}" data-requires-python="&gt;=3.8,&lt;4"
       data-core-metadata="sha256={META}" data-dist-info-metadata="sha256={META}"
       data-provenance="https://index.example/integrity/{WHEEL}"
       data-upload-time="2024-01-02T03:04:05Z">{WHEEL}</a><br />
    <A HREF='../../packages/cd/{SDIST}#md5=0123456789abcdef0123456789abcdef'
       data-yanked='say "no"' DATA-GPG-SIG=true>{SDIST}</A><br>
    <a href=//files.example/packages/foo-bar-0.9.zip?sig=1&amp;region=eu>foo-bar-0.9.zip</a>
    <a href="https://files.example/help.html">help</a>
    <a href="javascript:alert(1)">do</a> <a name="top">top</a> <a href="">none</a>
    <!-- <a href="https://files.example/packages/foo-bar-0.1.zip">hidden</a> -->
    <script>document.write('<a href="https://files.example/packages/foo-bar-0.2.zip">x</a>')</script>
    1 < 2 &amp; 3 &gt; 2
  </body>
</html>
<!--SERIAL 12345-->
""".encode()

DOCUMENT = {
    "meta": {"api-version": "1.1", "_last-serial": 12345},
    "name": "foo-bar",
    "versions": ["0.9", "1.0"],
    "files": [
        {
            "filename": WHEEL,
            "url": f"https://files.example/packages/ab/{WHEEL}",
            "hashes": {"sha256": SHA, "blake2b_256": "c" * 64, "odd": "not hex"},
            "requires-python": ">=3.8,<4",
            "core-metadata": {"sha256": META},
            "data-dist-info-metadata": {"sha256": META},
            "provenance": f"https://index.example/integrity/{WHEEL}/provenance",
            "size": 1234,
            "upload-time": "2024-01-02T03:04:05.250000Z",
            "yanked": False,
        },
        {
            "filename": SDIST,
            "url": f"../../packages/cd/{SDIST}",
            "hashes": {},
            "yanked": "broken: größer",
            "gpg-sig": True,
            "core-metadata": False,
            "upload-time": "last week",
            "size": "large",
        },
    ],
    "project-status": {"status": "active"},
}
JSON = json.dumps(DOCUMENT, ensure_ascii=False, indent=1).encode()

ROOT_SOURCE = "https://index.example/simple/"
ROOT_HTML = b"""<!DOCTYPE html><html><head><title>Simple index</title></head><body>
<a href="/simple/foo-bar/">foo-bar</a><a href="Zope.Interface">Zope.Interface</a>
<a href="https://index.example/simple/six/">six</a><a href="https://index.example/login">log in</a></body></html>"""
ROOT_JSON = (
    b'{"meta": {"api-version": "1.0"},\n "projects": [{"name": "foo-bar"}, {"name": "six", "_last-serial": 1}]}\n'
)
