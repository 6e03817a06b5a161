"""The crash matrix as a table at the end of the run: what was killed, at how many points, resumed by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

PROPERTY = "crash cells"
"""Name of the property by which a test tells of its cells; it reaches the summary from any worker."""
RESUMERS = ("run", "serve", "rotate")
HEAD = "killed at each point of"

Record = Callable[[str, object], None]


def tell(record_property: Record, cells: Iterable[tuple[str, str, str]]) -> None:
    """Tells the table of cells that were green, and of no others. Each is what was killed (its row), the point, and
    the command that resumed."""
    record_property(PROPERTY, [list(cell) for cell in cells])


def lines(properties: Iterable[tuple[str, object]]) -> list[str]:
    """The table as text, of everything that was told; empty when no cell was tried."""
    points: dict[str, set[str]] = {}
    counts: dict[str, Counter[str]] = {}
    for name, cells in properties:
        if name == PROPERTY:
            for row, point, command in cells:  # type: ignore[attr-defined]
                points.setdefault(row, set()).add(point)
                counts.setdefault(row, Counter())[command] += 1
    if not counts:
        return []
    commands = [*RESUMERS, *sorted({one for row in counts.values() for one in row} - set(RESUMERS))]
    width = max(map(len, (HEAD, *counts)))
    told = [
        _line(width, row, len(points[row]), *(one[command] for command in commands), one.total())
        for row, one in sorted(counts.items())
    ]
    sums = [sum(row[command] for row in counts.values()) for command in commands]
    head = _line(width, HEAD, "points", *commands, "cells")
    return [head, *told, _line(width, "all", sum(map(len, points.values())), *sums, sum(sums))]


def _line(width: int, first: str, *others: object) -> str:
    return f"{first:<{width}}" + "".join(f"{one:>8}" for one in others)
