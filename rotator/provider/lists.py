"""Lists of the Team API, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from rotator.errors import Unreachable
from rotator.http_client import Answer
from rotator.provider import answers, refusals

PAGE_SIZE: Final = 100
"""The most a page may hold (Laravel SDK)."""
MOST_PAGES: Final = 1000

Read = Callable[[str, str, str], Answer]
"""A GET that answers 200 or raises: the call's name, the path, what it is in words."""


def every(
    read: Read, call: str, path: str, what: str, query: Mapping[str, str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Every item of a list, each with an id. Raises as `read`, and Unreachable for a list that is not readable."""
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        asked = {"page[size]": str(PAGE_SIZE), **(query or {})} | ({"page[cursor]": cursor} if cursor else {})
        answer = read(call, f"{path}?{urlencode(asked)}", what)
        page = answers.page(answer)
        if page is None:
            raise refusals.unreadable(call, answer)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
        if cursor in seen or len(seen) >= MOST_PAGES:
            raise Unreachable(
                f"Lettermint's answer to {what} goes round in circles or does not end",
                then="The rest of it was not read",
                remedy="Try again later; report it to Lettermint if it stays.",
            )
        seen.add(cursor)
