"""The house stays tidy: small files, small functions, a docstring in each module, no `utils`."""

from __future__ import annotations

import ast
import re
import statistics
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "millpond").rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES, MEDIAN_FUNCTION_LINES, MAX_PROTOCOL_METHODS = 400, 70, 10, 6


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parsed(path)))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_small_and_says_why_it_exists(path: Path):
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    assert ast.get_docstring(parsed(path)), "a module starts with a docstring"
    long = [f"{f.name}: {length(f)}" for f in functions(path) if length(f) > MAX_FUNCTION_LINES]
    assert not long


def test_functions_are_short_as_a_rule():
    assert statistics.median(length(f) for path in SOURCES for f in functions(path)) <= MEDIAN_FUNCTION_LINES


def test_protocols_are_small():
    large = []
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                if len(methods) > MAX_PROTOCOL_METHODS:
                    large.append(f"{path.name}: {node.name} has {len(methods)}")
    assert not large


def test_there_is_no_room_for_odds_and_ends():
    assert not [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "common", "misc"}]


def test_nobody_needs_whoever_needs_him():
    graph = grimp.build_graph("millpond", exclude_type_checking_imports=False, cache_dir=None)
    arrows = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    assert len(arrows) > len(SOURCES)
    assert not [(one, other) for one, other in arrows if graph.chain_exists(importer=other, imported=one)]


def test_tests_mirror_the_tree():
    known = {path.relative_to(ROOT / "src" / "millpond").with_suffix("") for path in SOURCES}
    extra = {"bench", "clients", "faults", "live"}
    strays = []
    for test in (ROOT / "tests").rglob("test_*.py"):
        place = test.relative_to(ROOT / "tests")
        if len(place.parts) > 1 and place.parts[0] in extra:
            continue
        mirrored = place.with_name(place.stem.removeprefix("test_"))
        package = mirrored.parent
        if len(place.parts) > 1 and package not in known and not (ROOT / "src" / "millpond" / package).is_dir():
            strays.append(str(place))
    assert not strays


def test_what_the_papers_name_is_there():
    missing = []
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for named in re.findall(r"`((?:tests|docs|src)/[\w./-]+)(?:::(\w+))?`", page.read_text()):
            path, test = named
            there = (ROOT / path).exists()
            if not there or (test and f"def {test}(" not in (ROOT / path).read_text()):
                missing.append(f"{page.name}: {path} {test}")
    assert not missing


def test_no_registry_s_host_is_written_here():
    """The pond adopts what the machine uses; the names come from where the clients have them."""
    from pip._internal.models.index import PyPI

    hosts = [PyPI.netloc, PyPI.file_storage_domain]
    files = [
        path for path in ROOT.rglob("*") if path.suffix in {".py", ".md", ".toml", ".sh"} and ".venv" not in path.parts
    ]
    assert not [str(path) for path in files if any(host in path.read_text(errors="replace") for host in hosts)]
