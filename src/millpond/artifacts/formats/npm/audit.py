"""Private names taken out of an audit request, before it goes to a public registry. PURE.

A request tells the registry every package of a project. What is only ours (a local member, a reserved scope) is none
of its business, and could tell an attacker which names to register. Three forms: the bulk one (``{name: [versions]}``),
and the two older ones, trees whose nodes have ``requires`` and ``dependencies`` by name. Bodies may be gzip-coded.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

MAX_PLAIN_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 200
_GZIP = 16 + zlib.MAX_WBITS
_TREE_KEYS = ("requires", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies")


def without(body: bytes, encoding: str, private: Callable[[str], bool]) -> bytes:
    """Give the request without the names that are private, coded as it came; `encoding`: its Content-Encoding.

    Raises `ValueError` for what can't be read: then nothing may be sent. Holds the document: for the process pool.
    """
    if encoding not in {"", "identity", "gzip"}:
        raise ValueError(f"a body with the content encoding {encoding[:40]!r} can't be read")
    document = json.loads(_plain(body) if encoding == "gzip" else body)
    if not isinstance(document, dict):
        raise ValueError("an audit request is a JSON object")  # noqa: TRY004 - the body is wrong, no caller's type
    is_tree = any(key in document for key in _TREE_KEYS)
    kept = _tree(document, private) if is_tree else {name: one for name, one in document.items() if not private(name)}
    if is_tree and isinstance(kept.get("name"), str) and private(kept["name"]):
        del kept["name"]
    written = json.dumps(kept, separators=(",", ":")).encode()
    return _coded(written) if encoding == "gzip" else written


def _tree(node: dict[str, Any], private: Callable[[str], bool], depth: int = 0) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise ValueError("the audit request is nested too deeply")
    kept = dict(node)
    for key in _TREE_KEYS:
        if isinstance(kept.get(key), dict):
            kept[key] = {
                name: _tree(one, private, depth + 1) if isinstance(one, dict) else one
                for name, one in kept[key].items()
                if not private(name)
            }
    return kept


def _plain(body: bytes) -> bytes:
    decoder = zlib.decompressobj(_GZIP)
    try:
        plain = decoder.decompress(body, MAX_PLAIN_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is not gzip: {error}") from error
    if not decoder.eof:
        raise ValueError(f"the gzip body is cut off, or has more than {MAX_PLAIN_BYTES} bytes when unpacked")
    return plain


def _coded(plain: bytes) -> bytes:
    coder = zlib.compressobj(wbits=_GZIP)
    return coder.compress(plain) + coder.flush()
