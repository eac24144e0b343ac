"""200 image references, sound and hostile."""

from __future__ import annotations

import random

A, B = ("sha256:" + letter * 64 for letter in "ab")
GRAMMAR = "aZ0_.-/:@$ '\"\n\\é;|&"
REFERENCES = [
    "nginx", "nginx:1.27", "docker.io/library/nginx", "pond.lan:8080/hub/app:1", f"a/b@{A}", f"a/b:1@{B}",
    "localhost/a", "[fd00::1]:5000/a:b", "a.b/c_d/e__f/g-h.i:J", "--help", "-v", "-", "", " ", "a b", "a:b:c", "A/B",
    "a//b", "/a", "a/", "a:-x", "a@sha256:zz", f"a@{A}x", "$(id)", "`id`", "a;b", "a|b", "a\nb", "a\0b", "é",
    "a:" + "t" * 129, "x" * 300, "..", "../a", "a..b/c", "http://x/y", "a@", "@", ":", "a:", ":b",
    "a@sha256:" + "A" * 64, "1" * 64, "sha256:" + "1" * 64,
]  # fmt: skip


def references() -> list[str]:
    chance = random.Random(7)
    return REFERENCES + [
        "".join(chance.choices(GRAMMAR, k=chance.randrange(1, 30))) for _ in range(200 - len(REFERENCES))
    ]
