"""Cursor pages, the one list form of the Team API (`CursorPage` of SDK 3.2.0).

A cursor names the item it stands beside, not a position, so pages stay right while the list changes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")
Key = tuple[Any, ...]

DEFAULT_SIZE: Final = 30
MAX_SIZE: Final = 100
"""Not in the API description; the vendor's own command line tool asks for no more."""


def page(
    items: Sequence[T],
    query: Mapping[str, str],
    *,
    url: str,
    keys: Mapping[str, Callable[[T], Key]],
    default_sort: str,
    view: Callable[[T], dict[str, Any]],
) -> dict[str, Any]:
    """One page of `items`. `keys` maps each field that `sort` accepts to a unique sort key.

    An unknown `sort` and a cursor that cannot be read mean the default order and the first page: the
    API description lists no 422 for them.
    """
    sort = query.get("sort", default_sort).split(",")[0]
    if sort.removeprefix("-") not in keys:
        sort = default_sort
    key = keys[sort.removeprefix("-")]
    size = _size(query.get("page[size]"))
    ordered = sorted(items, key=key, reverse=sort.startswith("-"))
    start = _start([list(key(item)) for item in ordered], query.get("page[cursor]"), size, sort)
    shown = ordered[start : start + size]
    following = _cursor("after", key(shown[-1])) if shown and start + size < len(ordered) else None
    previous = _cursor("before", key(shown[0])) if shown and start > 0 else None
    return {
        "data": [view(item) for item in shown],
        "path": url,
        "per_page": size,
        "next_cursor": following,
        "next_page_url": _page_url(url, query, following),
        "prev_cursor": previous,
        "prev_page_url": _page_url(url, query, previous),
    }


def _size(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or int(text) < 1:
        return DEFAULT_SIZE
    return min(int(text), MAX_SIZE)


def _start(keys: list[list[Any]], cursor: str | None, size: int, sort: str) -> int:
    side, mark = _read_cursor(cursor)
    try:
        before = sum(1 for key in keys if (key > mark if sort.startswith("-") else key < mark))
        if side == "after":
            return before + (1 if mark in keys else 0)
        if side == "before":
            return max(0, before - size)
    except TypeError:  # a cursor of another order: its parts do not compare with ours
        pass
    return 0


def _cursor(side: str, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([side, list(key)]).encode()).decode().rstrip("=")


def _read_cursor(text: str | None) -> tuple[str, list[Any]]:
    if text:
        try:
            side, mark = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, TypeError):
            return "", []
        if side in ("after", "before") and isinstance(mark, list):
            return side, mark
    return "", []


def _page_url(url: str, query: Mapping[str, str], cursor: str | None) -> str | None:
    return None if cursor is None else f"{url}?{urlencode({**query, 'page[cursor]': cursor})}"
