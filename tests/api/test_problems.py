"""Every fault of ours has its status, and a body that says what to do."""

from __future__ import annotations

import json

import pytest

from millpond import errors
from millpond.api.problems import problem, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest("x"), 400),
        (errors.Denied("x", authenticate=True), 401),
        (errors.Denied("x"), 403),
        (errors.NotFound("x"), 404),
        (errors.NotAllowed("x"), 405),
        (errors.Stalled("x"), 408),
        (errors.Conflict("x"), 409),
        (errors.TooLarge("x"), 413),
        (errors.UpstreamUnreachable("x", kind="connect"), 502),
        (errors.Busy("x"), 503),
        (errors.OutOfSpace("x"), 507),
        (errors.DigestMismatch("x"), 500),
        (errors.ConfigError("x"), 500),
        (errors.MillpondError("x"), 500),
    ],
)
def test_a_fault_has_its_status(error, status):
    assert status_of(error) == status


def test_no_fault_of_ours_is_forgotten():
    named = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MillpondError)
    }
    tested = 13
    assert len(named) == tested, "a new fault needs a status, and a line above"


def test_a_problem_is_what_rfc_9457_says():
    body = json.loads(problem(404, 'no "such" thing', repository="x"))
    assert body == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": 'no "such" thing',
        "repository": "x",
    }
