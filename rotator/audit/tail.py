"""Reads the end of a file of lines, backwards, in bounded memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from rotator.audit.line import MAX_LINE

_BLOCK: Final = 64 * 1024


class EndlessLine(ValueError):
    """There is no line end within the length that a line may have."""


@dataclass(frozen=True)
class Tail:
    """The end of a file of lines."""

    lines: tuple[bytes, ...]
    """The last complete lines, in file order, without their line ends."""
    end: int
    """Offset after the last line end: where the next line belongs."""
    fragment: bytes
    """What stands after it: a line whose write was cut short."""


def read_tail(fd: int, count: int) -> Tail:
    """The last `count` lines (at least 1). Raises EndlessLine for a file that is not made of lines of
    ours, and OSError."""
    blocks: list[bytes] = []
    position = os.fstat(fd).st_size
    found = since_line_end = 0
    # One line end more than lines: the one before the first of them.
    while position > 0 and found <= count:
        start = max(0, position - _BLOCK)
        block = os.pread(fd, position - start, start)
        position = start
        blocks.append(block)
        found += block.count(b"\n")
        since_line_end = since_line_end + len(block) if b"\n" not in block else block.index(b"\n")
        if since_line_end > MAX_LINE + _BLOCK:
            raise EndlessLine("no line end within the length of a line")
    data = b"".join(reversed(blocks))
    *lines, fragment = data.split(b"\n")
    # Where more pieces than asked for were read, the first may be half a line; it is cut off here.
    return Tail(lines=tuple(lines[-count:]), end=position + len(data) - len(fragment), fragment=fragment)
