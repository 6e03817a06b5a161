"""Suggestions for mistyped words. Only words we know are ever shown, never the one that was typed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_CLOSE: Final = 0.75
"""One letter wrong in a word of four still counts, a common beginning alone does not."""


def did_you_mean(typed: object, known: Iterable[str]) -> str:
    """`; did you mean X?` for the closest known word; empty if nothing is close."""
    if not isinstance(typed, str) or len(typed) > 64:
        return ""
    by_lower = {word.lower(): word for word in sorted(known)}
    close = get_close_matches(typed.lower(), by_lower, n=1, cutoff=_CLOSE)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""
