"""A reload of several workers, step by step: all of them take it, or none, and whoever asked is told which."""

from __future__ import annotations

from pathlib import Path

import pytest

from millpond.errors import ConfigError
from millpond.server.reloads import Asker, Reloads

HOLDS, NEW = "accepted.json", "proposed.json"


class Line:
    """A worker's line that keeps what was said."""

    def __init__(self):
        self.said = []

    def tell(self, message):
        self.said.append(message)


class Configuration:
    file = Path(HOLDS)

    def __init__(self):
        self.done, self.against = [], None

    def propose(self):
        if self.against is not None:
            raise self.against
        self.done.append("propose")
        return Path(NEW)

    def confirm(self):
        self.done.append("confirm")


@pytest.fixture
def configuration():
    return Configuration()


@pytest.fixture
def lines():
    return {0: Line(), 1: Line()}


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def reloads(configuration, lines, now):
    return Reloads(configuration, lines, answer_s=30.0, clock=lambda: now[0])


def taken(reloads, worker, number=1, error=None):
    reloads.heard(worker, {"took": number, "error": error})
    reloads.tick()


def told(line):
    """Give the answers among what was said."""
    return [message for message in line.said if "told" in message]


def started(reloads, lines):
    reloads.heard(0, {"ask": 7})
    reloads.tick()
    for line in lines.values():
        assert line.said == [{"take": 1, "file": NEW}]


def test_who_asked_is_told_when_the_last_one_has_it(reloads, lines, configuration):
    started(reloads, lines)
    taken(reloads, 0)
    assert not told(lines[0])
    assert configuration.done == ["propose"]
    taken(reloads, 1)
    assert told(lines[0]) == [{"told": 7, "refused": [], "failed": []}]
    assert configuration.done == ["propose", "confirm"]


@pytest.mark.parametrize("error", [ConfigError("one", "two"), OSError("no room")])
def test_what_the_supervisor_can_not_read_reaches_no_worker(reloads, lines, configuration, error):
    configuration.against = error
    reloads.want(Asker(1, 3))
    reloads.tick()
    assert lines[0].said == []
    (answer,) = lines[1].said
    assert answer["refused"][0] in {"one", "the configuration can't be handed to the workers: no room"}
    assert answer["told"] == 3


def test_where_one_refuses_all_go_back(reloads, lines, configuration):
    started(reloads, lines)
    taken(reloads, 0)
    taken(reloads, 1, error="nothing to adopt")
    assert configuration.done == ["propose"]
    assert told(lines[0])[0]["failed"] == ["worker 1: nothing to adopt"]
    for line in lines.values():
        assert line.said[1] == {"take": 0, "file": HOLDS}
        line.said.clear()
    taken(reloads, 0, number=0)
    assert lines[0].said == lines[1].said == []


def test_one_that_says_nothing_is_named_after_a_while_and_takes_it_when_it_can(reloads, lines, configuration, now):
    started(reloads, lines)
    taken(reloads, 0)
    now[0] += 29
    reloads.tick()
    assert not told(lines[0])
    now[0] += 1
    reloads.tick()
    assert told(lines[0])[0]["failed"] == ["worker 1: it did not answer within 30 s"]
    assert configuration.done == ["propose", "confirm"]
    assert lines[1].said[-1] == {"take": 0, "file": HOLDS}


def test_one_that_is_started_anew_amid_it_takes_part(reloads, lines, configuration):
    started(reloads, lines)
    taken(reloads, 1)
    lines[1] = Line()
    reloads.began(1)
    taken(reloads, 0)
    assert configuration.done == ["propose"], "the new worker 1 has not got it yet"
    assert lines[1].said == [{"take": 1, "file": NEW}]
    taken(reloads, 1)
    assert configuration.done == ["propose", "confirm"]


def test_who_asks_amid_one_gets_one_of_its_own_after_it(reloads, lines, configuration):
    started(reloads, lines)
    reloads.heard(1, {"ask": 9})
    taken(reloads, 0)
    taken(reloads, 1)
    assert configuration.done == ["propose", "confirm", "propose"], "the file may have changed since"
    assert not told(lines[1])
    taken(reloads, 0, number=2)
    taken(reloads, 1, number=2)
    assert told(lines[1])[0]["told"] == 9
    reloads.tick()
    assert configuration.done[3:] == ["confirm"], "and that is all"


def test_an_answer_to_an_earlier_one_counts_for_nothing(reloads, lines, configuration, now):
    started(reloads, lines)
    taken(reloads, 0)
    now[0] += 30
    reloads.tick()
    reloads.want()
    reloads.tick()
    taken(reloads, 0, number=2)
    taken(reloads, 1, number=1)
    assert configuration.done[2:] == ["propose"]
    taken(reloads, 1, number=2)
    assert configuration.done[2:] == ["propose", "confirm"]
