"""What a deploy would change, told before it is done: names of what differs, and images; never a value. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 200


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """Name what differs between two documents, service by service; `old` None: nothing runs yet."""
    lines = list(_services(_table((old or {}).get("services")), _table(new.get("services"))))
    if old is not None:
        rest = sorted((old.keys() | new.keys()) - {"services", "name"})
        lines += [f"{key}: changed" for key in rest if old.get(key) != new.get(key)]
    return lines[:SHOWN]


def _services(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{name}: new, {new[name].get('image')}"
        elif name not in new:
            yield f"{name}: removed"
        elif old[name] != new[name]:
            yield f"{name}: {'; '.join(_service(old[name], new[name]))}"


def _service(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old.get("image") != new.get("image"):
        yield f"image {old.get('image')} -> {new.get('image')}"
    for key in sorted((old.keys() | new.keys()) - {"image"}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            names = sorted(one for one in before.keys() | after.keys() if before.get(one) != after.get(one))
            yield f"{key} ({', '.join(names)})"
        else:
            yield key


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
