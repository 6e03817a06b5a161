"""Numbers and times as people read them. The time is an argument."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.model import Bounds

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def length(seconds: float) -> str:
    """At most two units, rounded down: `12d 4h`, `3m 20s`, `0s`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0s"


def distance(moment: datetime, now: datetime) -> str:
    """`in 12d 4h` or `3h ago`."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {length(seconds)}" if seconds > 0 else f"{length(-seconds)} ago"


def bounds(measured: Bounds | None) -> str:
    """`0.21-0.41 s`; a dash where nothing was measured. Rounded outwards never matters to a reader here:
    the JSON has the milliseconds."""
    if measured is None:
        return "-"
    if measured.max == 0:
        return "0 s"
    low, high = seconds(measured.min), seconds(measured.max)
    if math.isinf(measured.max):
        return f"{low} s or more"
    return f"{low} s" if low == high else f"{low}-{high} s"


def rehearsed(age: float | None, outcome: str | None) -> str:
    """`5d 2h ago`, `never`, `5d 2h ago, then refused`: the last rehearsal that succeeded, and what came after it."""
    last = f"{length(age)} ago" if age is not None else "never"
    if outcome in (None, "completed"):
        return last
    return f"{last}, then {outcome}" if age is not None else f"{last}: {outcome}"


def seconds(value: float) -> str:
    """Three digits or so: `0.213`, `1.85`, `12.4`, `340`."""
    if value < 1:
        return f"{value:.3f}"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def count(number: int, what: str) -> str:
    """`1 policy`, `2 policies`."""
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
