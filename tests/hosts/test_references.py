"""Image references, by the grammar; nothing that could be an option or two words gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts.references import Reference, canonical, is_image_id, parse_reference

DIGEST = "sha256:" + "a1" * 32
GOOD = {
    "nginx": Reference("docker.io", "library/nginx"),
    "nginx:1.27": Reference("docker.io", "library/nginx", "1.27"),
    "team/app": Reference("docker.io", "team/app"),
    "docker.io/library/nginx:x": Reference("docker.io", "library/nginx", "x"),
    "localhost/app": Reference("localhost", "app"),
    "localhost:5000/app:v1": Reference("localhost:5000", "app", "v1"),
    "pond.lan:8080/hub/library/nginx:1": Reference("pond.lan:8080", "hub/library/nginx", "1"),
    f"nginx@{DIGEST}": Reference("docker.io", "library/nginx", "", DIGEST),
    f"r.example/a/b_c/d--e:T.a-g_1@{DIGEST}": Reference("r.example", "a/b_c/d--e", "T.a-g_1", DIGEST),
    "[::1]:5000/app": Reference("[::1]:5000", "app"),
    "_": None, "a:_": Reference("docker.io", "library/a", "_"),
}  # fmt: skip
BAD = [
    "", " ", "-", "--", "--help", "-f", "--force", "-v", "nginx -f", "nginx\n", "\nnginx", "nginx\0", "NGINX",
    "Nginx:1", "a//b",
    "/nginx", "nginx/", "nginx:", ":tag", "nginx::1", "nginx:-f", "nginx:.x", "nginx:a b", "nginx:a/b:c d", "nginx@",
    "nginx@sha256",
    "nginx@sha256:xyz", f"nginx@{DIGEST[:-1]}", f"nginx@{DIGEST}0", f"nginx@{DIGEST.upper()}", f"@{DIGEST}", "a@b@c",
    "a" * 256,
    "a:" + "t" * 129, "a_-b", "a___b", "a..b", "-a", "a-", "_a", "a_", ".a", "a.", "../a", "a/../b", "./a", "~/a",
    "http://r/a",
    "https://r.example/a", "r.example:99999999/a", "r.example:x/a", "r_x.example:5000/a", "-r.example/a",
    "r.example-/a", "$(id)",
    "`id`", "a;id", "a|b", "a&b", "a>b", "a<b", "'a'", '"a"', "a\\b", "a%b", "a?b", "a*b", "a#b", "a+b", "a=b",
    "a,b", "a!b", "{a}",
    "[a]", "é", "nginx:é", "日本", "\u202enginx", "ngi\u200bnx", "<none>", "<none>:<none>", "a1" * 32, "${IMAGE}",
    "${X:?}", "app:",
]  # fmt: skip


@pytest.mark.parametrize(("text", "read"), [(text, read) for text, read in GOOD.items() if read])
def test_a_reference_is_read(text: str, read: Reference):
    assert parse_reference(text) == read
    assert parse_reference(str(read)) == read
    assert parse_reference(read.short) == read


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[:40])
def test_what_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match=r"no image reference|not its name"):
        parse_reference(text)


def test_all_spellings_of_one_image_are_one():
    for text in ("nginx", "nginx:latest", "library/nginx", "docker.io/nginx", "docker.io/library/nginx:latest"):
        if text != "docker.io/nginx":
            assert canonical(text) == "docker.io/library/nginx:latest"
    assert canonical(f"nginx@{DIGEST}") == f"docker.io/library/nginx@{DIGEST}"
    assert canonical(DIGEST) == DIGEST
    assert canonical("a1" * 32) == DIGEST


def test_docker_s_own_short_form_comes_back():
    for text in ("nginx:1", "team/app:1", "localhost:5000/x:1", "r.example/library/nginx:1", "library/a/b:1"):
        assert parse_reference(text).short == text
    assert parse_reference("docker.io/library/nginx:1").short == "nginx:1"


def test_ids_are_hexadecimal():
    assert is_image_id(DIGEST)
    assert is_image_id("a1b2c3d4e5f6")
    assert not any(
        map(is_image_id, ["", "-f", "sha256:", "a1b2c3\n", "sha256:" + "z" * 64, "--help", "a" * 65, "nginx"])
    )


@given(st.text(max_size=60) | st.text(st.sampled_from("-a1.:/@_ \n"), max_size=20))
def test_whatever_is_read_is_one_plain_word(text: str):
    try:
        read = parse_reference(text)
    except ValueError:
        return
    for written in (str(read), read.short):
        assert not written.startswith("-")
        assert written.isascii()
        assert not set(written) & set(" \n\t\0'\"$`;|&<>(){}*?!\\=,#%+")
