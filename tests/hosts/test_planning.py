"""What would change is told by names and images, never by values."""

from __future__ import annotations

from millpond.hosts.planning import changes

OLD = {
    "name": "shop",
    "services": {
        "web": {"image": "a", "environment": {"A": "1", "B": "canary-1"}, "command": ["x"], "ports": [1]},
        "db": {"image": "d"},
        "old": {"image": "o"},
    },
    "volumes": {"data": {"name": "canary-2"}},
}


def test_services_images_and_names_of_what_differs():
    new = {
        "name": "other",
        "services": {
            "web": {"image": "b", "environment": {"A": "1", "B": "canary-3", "C": ""}, "command": ["y"], "ports": [1]},
            "db": {"image": "d"},
            "fresh": {"image": "f"},
        },
        "volumes": {"data": {"name": "canary-4"}},
    }
    found = changes(OLD, new)
    assert found == [
        "fresh: new, f",
        "old: removed",
        "web: image a -> b; command; environment (B, C)",
        "volumes: changed",
    ]
    assert "canary" not in str(found)


def test_nothing_differs_and_nothing_runs_yet():
    assert changes(OLD, OLD) == []
    assert changes(None, OLD) == ["db: new, d", "old: new, o", "web: new, a"]
