"""The chart: for each load, every server's ratio to nginx. What is drawn is decided apart from the drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import stats
from bench.model import RATE, Key, Row, ratio_of

COLUMNS = 3
OWN, REFERENCE, OTHER = "#1f6f8b", "#8a8a8a", "#c9c9c9"


@dataclass(frozen=True, slots=True)
class Panel:
    """One load: its title, and (server, ratio to nginx) from the best to the least."""

    title: str
    bars: tuple[tuple[str, float], ...]


def panels(rows: Mapping[Key, Row]) -> list[Panel]:
    """Choose what is drawn: rates of hits, misses and herds that have a ratio, nginx itself at 1."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for row in rows.values():
        ratios = ratio_of(row, rows)
        if ratios and row.metric == RATE:
            found.setdefault((row.group, row.case), []).append((row.server, stats.median(ratios)))
    return [
        Panel(f"{group}: {case}", tuple(sorted([*bars, (_base(group), 1.0)], key=lambda bar: -bar[1])))
        for (group, case), bars in found.items()
    ]


def _base(group: str) -> str:
    return "nginx" if group == "hits" else "nginx-cache"


def draw(rows: Mapping[Key, Row], folder: Path, name: str = "ratios") -> list[Path]:
    """Draw as SVG and PNG; gives the files, none where there is nothing to draw.

    Raises `ImportError` without matplotlib (the extra `dev`).
    """
    chosen = panels(rows)
    if not chosen:
        return []
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures give the same file
    from matplotlib import pyplot as plt

    height = -(-len(chosen) // COLUMNS)
    figure, grid = plt.subplots(height, COLUMNS, figsize=(15, 2.6 * height), squeeze=False)
    places = list(grid.flat)
    for place, panel in zip(places, chosen, strict=False):
        _panel(place, panel)
    for place in places[len(chosen) :]:
        place.set_axis_off()
    figure.suptitle("Ratio to nginx with as many workers, on the same machine (longer is better)")
    figure.tight_layout()
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    figure.savefig(files[0], metadata={"Date": None})
    figure.savefig(files[1], dpi=100)
    plt.close(figure)
    return files


def _panel(place: Any, panel: Panel) -> None:
    servers, ratios = zip(*reversed(panel.bars), strict=True)
    bars = place.barh(servers, ratios, color=[_colour(server) for server in servers])
    place.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    place.axvline(1.0, color=REFERENCE, linewidth=0.8, linestyle=":")
    place.set_xlim(0, max(*ratios, 1.0) * 1.2)
    place.set_title(panel.title, fontsize=9)
    place.tick_params(labelsize=8)
    place.spines[["top", "right"]].set_visible(False)


def _colour(server: str) -> str:
    if server.startswith("millpond"):
        return OWN
    return REFERENCE if server.startswith("nginx") else OTHER
