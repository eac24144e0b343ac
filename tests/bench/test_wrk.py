from __future__ import annotations

from pathlib import Path

import pytest

from bench import wrk

OUTPUT = """Running 2s test @ http://127.0.0.1:1/x
  1 threads and 4 connections
Requests/sec:  10.00

bench-summary {"duration_us":2000000,"requests":20,"bytes":4000000,"p50_us":1500,"p99_us":9000,\
"status_errors":1,"socket_errors":2}
"""


def test_the_summary_is_read_in_seconds():
    told = wrk.read(OUTPUT)
    assert (told.seconds, told.requests, told.p50_s, told.p99_s) == (2.0, 20, 0.0015, 0.009)
    assert (told.status_errors, told.socket_errors) == (1, 2)
    assert told.rate == 10
    assert told.megabytes == 2


@pytest.mark.parametrize("output", ["", "Requests/sec: 10", OUTPUT.replace("}", "")])
def test_output_without_the_summary_is_a_failure(output):
    with pytest.raises(wrk.Failed):
        wrk.read(output)


def test_one_plain_request_needs_no_listing():
    requests = [wrk.Asked("/x")]
    assert "request =" not in wrk.script(requests, Path("/unused"))
    argv = wrk.command("http://h", requests, Path("l.lua"), connections=4, seconds=0.2, headers={"A": "b"})
    assert argv[-1] == "http://h/x"
    assert "-c4" in argv
    assert "-d1s" in argv
    assert argv[argv.index("-H") + 1] == "A: b"


def test_many_requests_are_read_from_a_listing_in_turn():
    requests = [wrk.Asked("/x", "bytes=0-1"), wrk.Asked("/y")]
    assert '"/some where"' in wrk.script(requests, Path("/some where"))
    assert wrk.lines(requests) == "/x\tbytes=0-1\n/y\t\n"
    argv = wrk.command("http://h", requests, Path("l.lua"), connections=4, seconds=3, headers={})
    assert argv[-1] == "http://h/"


def test_one_ranged_request_needs_the_listing_too():
    assert "request =" in wrk.script([wrk.Asked("/x", "bytes=0-1")], Path("/l"))
