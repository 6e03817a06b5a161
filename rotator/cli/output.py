"""What leaves the process: data on standard output, everything else on standard error.

Invariants: nothing is printed before it went through the scrubber, and a reader that has gone away
(`rotator history | head`) never stops the work or changes its exit code.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

from rotator.errors import InvalidPolicies, RotatorError
from rotator.secret import scrub

# Control characters from outside could move the cursor of a terminal or fake a second line.
_VISIBLE: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


_NAMED: Final = 3
"""Policies with the same trouble that are named."""


class Format(StrEnum):
    """The form of the data on standard output."""

    TABLE = "table"
    JSON = "json"


class CurrentStderr(io.TextIOBase):
    """Whatever `sys.stderr` is at the moment of writing: a live display replaces it while it is shown."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def default_format() -> Format:
    """A table for a person, JSON for a program."""
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def clean(text: str) -> str:
    """The text without secrets and without control characters, for anything a person will read."""
    return scrub(text).translate(_VISIBLE)


def emit_json(data: Any) -> None:
    """One JSON document on standard output: indented for a person, in one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    emit(json.dumps(scrubbed(data), indent=indent, ensure_ascii=False))


def emit(text: str) -> None:
    """Text on standard output. The caller has cleaned it: a table holds the colours of its own."""
    write(sys.stdout, f"{text}\n")


def say(text: str) -> None:
    """A line, or several, on standard error."""
    write(sys.stderr, f"{clean(text)}\n")


def say_drawn(text: str) -> None:
    """What `render` drew for standard error: cleaned by the drawing, and with colours of its own."""
    write(sys.stderr, f"{text}\n")


def say_error(error: RotatorError, *, about: str = "") -> None:
    """What happened, what happens next, what the reader may do. `about` names the policy."""
    if isinstance(error, InvalidPolicies):
        count = len(error.problems)
        say("\n".join(str(problem) for problem in error.problems))
        say(f"error: {count} problem{'' if count == 1 else 's'} in the policies")
        say(" then: Nothing was done.\n   do: Mend them; `rotator validate` checks them again.")
        return
    say(f"error: {about + ': ' if about else ''}{_ended(error.happened)}")
    for label, part in ((" then", error.then), ("   do", error.remedy)):
        if part:
            say(f"{label}: {_ended(part)}")


def say_errors(errors: Iterable[tuple[str, RotatorError]]) -> None:
    """Those of several policies. The same trouble of many is said once, with the names of the first few."""
    alike: dict[tuple[type, str, str, str], list[tuple[str, RotatorError]]] = {}
    for name, error in errors:
        alike.setdefault((type(error), error.happened, error.then, error.remedy), []).append((name, error))
    for group in alike.values():
        if len(group) > _NAMED:
            names = ", ".join(name for name, _ in group[:_NAMED])
            group[:] = [(f"{names} and {len(group) - _NAMED} more", group[0][1])]
        for about, error in group:
            say_error(error, about=about)


def scrubbed(data: Any) -> Any:
    """The same JSON with every text in it scrubbed."""
    if isinstance(data, str):
        return scrub(data)
    if isinstance(data, Mapping):
        return {scrub(str(name)): scrubbed(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [scrubbed(item) for item in data]
    return data


def _ended(text: str) -> str:
    text = text.rstrip()
    if "\n" in text or text.endswith((".", "!", "?", ":")):
        return text
    return f"{text}."


def write(stream: TextIO, text: str) -> None:
    """At once. What the stream cannot show is shown as its number; a stream that has gone changes nothing else."""
    try:
        stream.write(text)
        stream.flush()
    except UnicodeEncodeError:
        # A terminal of another encoding shows the character's number instead.
        encoding = stream.encoding or "ascii"
        write(stream, text.encode(encoding, "backslashreplace").decode(encoding))
    except OSError as error:
        # The rest goes nowhere, and so does the flush at exit, which would change the exit code.
        _redirect_to_nowhere(stream)
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            say(
                f"warning: Standard output cannot be written: {error.strerror}. The work was done all the same."
            )


def _redirect_to_nowhere(stream: TextIO) -> None:
    with Path(os.devnull).open("w", encoding="ascii") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
