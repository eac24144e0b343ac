from __future__ import annotations

import pytest

from millpond.adapters.addresses import BadUrl, Origin, follow, is_local_name, is_public, origin_of, parse

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2a00:1450::5efe:10.0.0.1",
    "2a00:1450::200:5efe:127.0.0.1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "",
    "example",
    "1.2.3",
    "2130706433",
    "0x7f000001",
    "1.2.3.4.5",
    "::g",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "151.101.0.223",
    "2606:4700:4700::1111",
    "2a04:4e42::223",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "2a00:1450::5efe:8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_only_global_unicast_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_global_addresses_are_public_in_every_form(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a.example/x", Origin("http", "a.example", 80)),
        ("HTTPS://A.Example", Origin("https", "a.example", 443)),
        ("https://a.example:8443?q", Origin("https", "a.example", 8443)),
        ("http://[2001:DB8::0:1]:8080/", Origin("http", "2001:db8::1", 8080)),
        ("http://192.0.2.1/", Origin("http", "192.0.2.1", 80)),
        ("http://a.example./", Origin("http", "a.example.", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: Origin) -> None:
    assert origin_of(url) == origin


def test_the_path_and_query_stay_byte_for_byte_and_the_fragment_goes() -> None:
    location = parse("https://A.example:443/a%2Fb/%7e/../x?sig=a%2Bb+c&d='#frag")
    assert location.url == "https://a.example/a%2Fb/%7e/../x?sig=a%2Bb+c&d='"
    assert parse("http://a.example?x=1").url == "http://a.example/?x=1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "//a.example/",
        "/x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "data:text/plain,x",
        "javascript:alert(1)",
        "http:a.example",
        "http:/a.example",
        "http://",
        "http:///x",
        "http://user@a.example/",
        "http://user:word@a.example/",
        "http://@a.example/",
        "http://a.example@/",
        "http://a.example:0/",
        "http://a.example:65536/",
        "http://a.example:x/",
        "http://a.example:-1/",
        "http://a:80:80/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://127.0.0.01/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://0x/",
        "http://a.0x1/",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http://[1.2.3.4]/",
        "http://[::g]/",
        "http://[v1.x]/",
        "http://a..example/",
        "http://.example/",
        "http://a%2eexample/",
        "http://a example/",
        "http://a.example\\@b/",
        "http://a.example/\r\nX: y",
        "http://a.example/\t",
        "http://\u0131.example/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://a.example/" + "x" * 8000,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(BadUrl) as caught:
        parse(url)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/y", "https://a.example/y"),
        ("y?z", "https://a.example/d/y?z"),
        ("?z", "https://a.example/d/x?z"),
        ("//b.example/y", "https://b.example/y"),
        ("http://b.example/a b/\u00e9", "http://b.example/a%20b/%C3%A9"),
        (" https://b.example/%zz ", "https://b.example/%zz"),
        ("../../y", "https://a.example/y"),
    ],
)
def test_a_redirect_is_read_relative_to_what_answered(target: str, url: str) -> None:
    assert follow(parse("https://a.example/d/x?q"), target).url == url


@pytest.mark.parametrize(
    "target",
    [
        "http://b.example\\@127.0.0.1/",
        "http://b\r\n.example/",
        "http://[",
        "http://[x]y/",
        "http://\u24d0.example/",
        "http://u:p@b.example/",
        "file:///x",
        "\x00",
    ],
)
def test_a_redirect_that_can_not_be_read_is_refused(target: str) -> None:
    with pytest.raises(BadUrl):
        follow(parse("https://a.example/"), target)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "169.254.169.254",
        "metadata.google.internal",
        "ip6-localhost",
    ],
)
def test_local_names_are_known_without_dns(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize("host", ["a.example", "8.8.8.8", "localhost.example", "2606:4700::1"])
def test_other_names_are_not_local(host: str) -> None:
    assert not is_local_name(host)


def test_a_location_never_shows_its_query() -> None:
    assert "s3cret" not in repr(parse("https://a.example/x?sig=s3cret"))
