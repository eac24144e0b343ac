"""What each path of a registry is, and what is known of it."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.docker import Docker
from millpond.artifacts.formats.docker.negotiation import ALL, FORMS
from millpond.artifacts.model import Absent, Checksum, Target

DIGEST = "sha256:" + "0a" * 32
PLAIN, HUB = Docker(), Docker("library")


def target(path: str, query: str = "", accept: str = "", format_: Docker = PLAIN) -> Target:
    found = format_.resolve(path, query, accept)
    assert isinstance(found, Target)
    return found


def test_a_tag_changes_and_has_a_variant():
    found = target("a/b/manifests/latest", accept=FORMS["v2"])
    assert found.mutable
    assert found.complete
    assert (found.upstream_path, found.variant, found.accept) == ("v2/a/b/manifests/latest", "v2", FORMS["v2"])


def test_what_is_named_by_digest_is_one_object_whatever_is_accepted():
    assert target(f"a/manifests/{DIGEST}", accept="") == target(f"a/manifests/{DIGEST}", accept=FORMS["v2"])
    found = target(f"a/manifests/{DIGEST}")
    assert (found.mutable, found.digest, found.variant) == (False, DIGEST, "")


def test_a_blob_is_bytes_and_checked():
    found = target(f"a/blobs/{DIGEST}")
    assert (found.mutable, found.digest, found.content_type) == (False, DIGEST, "application/octet-stream")


def test_docker_hub_has_a_namespace_for_single_names():
    assert target("nginx/manifests/latest", format_=HUB) == target("library/nginx/manifests/latest", format_=HUB)
    assert target("nginx/manifests/latest").path == "nginx/manifests/latest"


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("", ""),
        ("n=10", "?n=10"),
        ("n=99999999999999999999", "?n=1000"),
        ("n=5&last=v1.0", "?n=5&last=v1.0"),
        ("ns=docker.io&n=5", "?n=5"),
        ("next_page=a%2Fb%3D", "?next_page=a%2Fb%3D"),
        ("last=a b\r\n", "?last=a+b%0D%0A"),
    ],
)
def test_pages_of_tags_are_bounded_and_their_query_is_part_of_the_key(query, sent):
    found = target("a/tags/list", query)
    assert found.path == f"a/tags/list{sent}"
    assert found.upstream_path == f"v2/a/tags/list{sent}"
    assert found.mutable


@pytest.mark.parametrize("query", ["n=x", "n=-1", "n=1.5", "n=", "x" * 2000])
def test_a_page_that_is_none(query):
    assert isinstance(PLAIN.resolve("a/tags/list", query, ""), Absent)


def test_referrers_are_not_filtered_so_that_one_copy_serves_all():
    assert target(f"a/referrers/{DIGEST}", "artifactType=x/y").path == f"a/referrers/{DIGEST}"


@pytest.mark.parametrize(
    ("told", "promised"),
    [
        (DIGEST, Checksum("sha256", "0a" * 32)),
        ("sha512:" + "0a" * 64, Checksum("sha512", "0a" * 64)),
        ("", None),
        ("sha256:xyz", None),
        ("sha256:" + "0A" * 32, None),
        ("md5:" + "0a" * 16, None),
    ],
)
def test_the_promised_digest(told, promised):
    headers = {"docker-content-digest": told} if told else {}
    assert PLAIN.told(target("a/manifests/latest"), headers) == promised
    assert PLAIN.told(target(f"a/blobs/{DIGEST}"), headers) is None


def test_only_tags_are_asked_by_head_first():
    assert PLAIN.moves(target("a/b/manifests/latest"))
    for path in (f"a/manifests/{DIGEST}", f"a/blobs/{DIGEST}", "a/tags/list"):
        assert not PLAIN.moves(target(path))


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "last=b&n=2"),
        ("<https://elsewhere.example/v2/x?n=5000>; rel=next", "n=1000"),
        ('</v2/a/tags/list?last=b>; rel="prev"', ""),
        ("nothing", ""),
        ("<>", ""),
        ("", ""),
        ("<" * 5000, ""),
    ],
)
def test_the_next_page(link, query):
    assert PLAIN.next_page(target("a/tags/list"), link) == query
    assert PLAIN.next_page(target("a/manifests/latest"), link) == ""


def test_during_an_outage_another_form_stands_in_if_the_client_reads_it():
    one = target("a/manifests/latest", accept=FORMS["v2"])
    assert PLAIN.stand_ins(one)[0].variant == ALL
    assert PLAIN.serves(one, FORMS["v2"])
    assert not PLAIN.serves(one, FORMS["index"])
    assert PLAIN.stand_ins(target(f"a/blobs/{DIGEST}")) == ()
