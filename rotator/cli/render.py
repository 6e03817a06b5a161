"""Draws tables and cards as text, for standard output unless another stream is named. The only module that
knows rich's tables.

Nothing is cut: what does not fit is wrapped, because a person may have to type it.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

from rotator.cli.output import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

STYLES: Final = {
    "ok": "green",
    "completed": "green",
    "done": "green",
    "due": "yellow",
    "overdue": "bold yellow",
    "running": "cyan",
    "draining": "cyan",
    "held": "magenta",
    "refused": "yellow",
    "skipped": "dim",
    "unclear": "bold yellow",
    "failed": "bold red",
    "needs-attention": "bold red",
    "unknown": "dim",
    "warn": "yellow",
    "FAIL": "bold red",
    "skip": "dim",
    "?": "yellow",
    "NO": "bold red",
    "not begun": "bold red",
}
"""How a word that stands for a state is shown. The word itself says it all; colour only repeats it."""


_COMMAND: Final = re.compile("`[^`]+`")
_GLUE: Final = "\ue000"
"""Stands for a space at which no line may be broken."""
_BELOW: Final = ">"
"""Stands for a first cell that is on the line above. No name begins with it."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    whole: bool = False
    """Never wrapped, because it is short and of known length."""
    right: bool = False


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    longest_first: int = 24,
    stream: TextIO | None = None,
) -> str:
    """A table without lines, headed by the names of its columns.

    A first cell of more than `longest_first` characters gets a line of its own, above its row: wrapped,
    a name could not be copied.
    """
    from rich.table import Table  # noqa: PLC0415  # rich loads only where something is drawn

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(
            column.name,
            no_wrap=column.whole,
            overflow="fold",
            justify="right" if column.right else "left",
        )
    above: list[str] = []
    for first, *others in rows:
        if len(first) > longest_first:
            above.append(clean(first))
        drawn.add_row(word(_BELOW if len(first) > longest_first else first), *(word(cell) for cell in others))
    lines: list[str] = []
    for line in _drawn([drawn], stream).splitlines():
        if line.startswith(_BELOW):
            lines.append(above.pop(0))
        lines.append(line)
    return "\n".join(lines)


def card(title: str, state: str, lines: Iterable[tuple[str, str]], *, stream: TextIO | None = None) -> str:
    """A heading with a state, and below it names and texts; lines without a text are left out.

    A command between backticks stays on one line where it fits on one: it is to be copied.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    body = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    body.add_column(no_wrap=True, style="dim")
    body.add_column(overflow="fold")
    told = [(f"  {name}", clean(text)) for name, text in lines if text]
    room = _width() - max((len(name) for name, _ in told), default=0) - 2
    for name, text in told:
        body.add_row(name, Text(_COMMAND.sub(lambda found: _glued(found[0], room), text)))
    heading = Text.assemble((clean(title), "bold"), "  " if state else "", word(state))
    return _drawn([heading, body], stream)


def _glued(command: str, room: int) -> str:
    from rich.cells import cell_len  # noqa: PLC0415

    return command.replace(" ", _GLUE) if cell_len(command) <= room else command


def checklist(title: str, rows: Iterable[tuple[str, str, str, str]]) -> str:
    """A heading, and below it rows of a mark, a name, a text and, on lines of its own, what to do.

    A row without a mark is a line of its own above the rows that follow.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = list(rows)
    names = [len(name) for mark, name, _, _ in rows if mark]
    parts: list[RenderableType] = [Text(clean(title), "bold")]
    for mark, name, text, hint in rows:
        if not mark:
            parts.append(Text(f"  {clean(name)}", "dim"))
            continue
        row = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        row.add_column(width=6)
        row.add_column(width=max(names), no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(Text("  ") + word(mark), clean(name), Text(clean(text)))
        if hint:
            row.add_row("", Text("do:".rjust(max(names)), "bold"), Text(clean(hint)))
        parts.append(row)
    return _drawn(parts)


def word(text: str) -> Text:
    """A cell; in its colour if its first word stands for a state."""
    from rich.text import Text  # noqa: PLC0415

    return Text(clean(text), style=STYLES.get(text.partition(",")[0], ""))


def _drawn(parts: Iterable[RenderableType], stream: TextIO | None = None) -> str:
    from rich.text import Text  # noqa: PLC0415

    console = _console(stream or sys.stdout)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))  # a heading is never broken
    # Cells are padded to their column's width; at the end of a line nobody sees that, but copies it.
    drawn = console.file.getvalue().replace(_GLUE, " ")  # type: ignore[attr-defined]  # a StringIO, see below
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _console(stream: TextIO) -> Console:
    """Draws into memory, as wide as the terminal and as colourful as the stream is."""
    from rich.console import Console  # noqa: PLC0415

    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colours = stream.isatty() and not plain
    return Console(
        file=io.StringIO(),
        force_terminal=colours,
        no_color=not colours,
        width=_width(),
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )


def _width() -> int:
    """Columns of the terminal; COLUMNS wins, and 80 is taken where there is none."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    for stream in (sys.stdout, sys.stderr):
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            continue
    return 80
