"""The crash matrix as a table at the end of the run: what was killed, at how many points, resumed by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

PROPERTY = "crash cells"
"""Name of the property by which a test tells of its cells; it reaches the summary from any worker."""
RESUMERS = ("run", "serve", "rotate")
HEAD = "killed at a point of"

Record = Callable[[str, object], None]


def tell(record_property: Record, cells: Iterable[tuple[str, str, str]], *, there: Mapping[str, int]) -> None:
    """Tells the table of cells that were green, and of no others. Each is what was killed (its row), the point, and
    the command that resumed. `there` is how many points each row has, tried or not."""
    record_property(PROPERTY, [[list(cell) for cell in cells], dict(there)])


def lines(properties: Iterable[tuple[str, object]]) -> list[str]:
    """The table as text, of everything that was told; empty when no cell was tried."""
    tried: dict[str, set[str]] = {}
    there: dict[str, int] = {}
    counts: dict[str, Counter[str]] = {}
    for name, value in properties:
        if name == PROPERTY:
            cells, more = value  # type: ignore[misc]
            there |= more
            for row, point, command in cells:
                tried.setdefault(row, set()).add(point)
                counts.setdefault(row, Counter())[command] += 1
    if not counts:
        return []
    commands = [*RESUMERS, *sorted({one for row in counts.values() for one in row} - set(RESUMERS))]
    width = max(map(len, (HEAD, *counts)))
    points = {row: max(there.get(row, 0), len(tried[row])) for row in counts}
    told = [
        _line(width, row, points[row], len(tried[row]), *(one[command] for command in commands), one.total())
        for row, one in sorted(counts.items())
    ]
    sums = [sum(row[command] for row in counts.values()) for command in commands]
    head = _line(width, HEAD, "points", "tried", *commands, "cells")
    total = _line(width, "all", sum(points.values()), sum(map(len, tried.values())), *sums, sum(sums))
    return [head, *told, total]


def _line(width: int, first: str, *others: object) -> str:
    return f"{first:<{width}}" + "".join(f"{one:>8}" for one in others)
