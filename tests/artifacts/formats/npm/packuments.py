"""Packuments as upstreams send them; every host is made up."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha1, sha512

SOURCE = "https://registry.example/@scope%2fthing"
ABBREVIATED_TYPE = "application/vnd.npm.install-v1+json"
FOREIGN = (b"registry.example", b"tarballs.example", b"javascript")
ONE, TWO = b"\x1f\x8bone", b"\x1f\x8btwo"


def sri(body: bytes) -> str:
    return "sha512-" + b64encode(sha512(body).digest()).decode()


def manifest(version: str, tarball: str, body: bytes = ONE, **more: object) -> dict[str, object]:
    dist = {"shasum": sha1(body).hexdigest(), "tarball": tarball, "integrity": sri(body), "unpackedSize": 9} | more
    return {"name": "@scope/thing", "version": version, "dependencies": {"left-pad": "^1.0.0"}, "dist": dist}


VERSIONS = {
    "1.0.0": manifest(
        "1.0.0", "https://registry.example/@scope/thing/-/thing-1.0.0.tgz",
        attestations={"url": "https://registry.example/-/npm/v1/attestations/@scope%2fthing@1.0.0", "provenance": {}},
        signatures=[{"keyid": "SHA256:x", "sig": "y"}],
    ),
    "2.0.0-rc.1": manifest("2.0.0-rc.1", "https://user:pw@tarballs.example/get/odd-name.tgz?sig=1#x", TWO),
    "3.0.0": {"name": "@scope/thing", "version": "3.0.0", "dist": {"tarball": "javascript:alert(1)"}},
    "4.0.0": {"name": "@scope/thing", "version": "4.0.0"},
    "../up": manifest("../up", "https://registry.example/x.tgz"),
    "5.0.0": None,
}  # fmt: skip
TAGS = {"latest": "1.0.0", "next": "2.0.0-rc.1", "gone": "9.9.9"}
TIMES = {"created": "2019-01-01T00:00:00.000Z", "1.0.0": "2020-01-02T03:04:05.678Z", "2.0.0-rc.1": "yesterday"}
FULL = json.dumps(
    {"_id": "@scope/thing", "name": "@scope/thing", "dist-tags": TAGS, "versions": VERSIONS, "time": TIMES,
     "readme": "# thing\n\u00e9", "users": {"a": True}}
).encode()  # fmt: skip
ABBREVIATED = json.dumps(
    {"name": "@scope/thing", "versions": {"1.0.0": VERSIONS["1.0.0"]}, "dist-tags": TAGS, "modified": "2020-01-02"},
    ensure_ascii=False, indent=1,
).encode()  # fmt: skip
UNPUBLISHED = json.dumps(
    {"_id": "@scope/thing", "name": "@scope/thing", "time": {"unpublished": {"time": "2020", "versions": ["1.0.0"]}}}
).encode()
