"""Questions to a person. Asked on standard error, so that data can go elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rotator.cli.output import clean, write
from rotator.errors import InvalidInput
from rotator.interrupt import heard
from rotator.secret import Secret

_LONGEST_TOKEN = 64 * 1024


def someone_answers() -> bool:
    """Whether there is a person who sees the question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Asks for y or n; anything but y is no. The end of input is no."""
    return _yes(question, sys.stdin, sys.stderr)


@contextmanager
def on_terminal() -> Iterator[Callable[[str], bool] | None]:
    """Asks as `confirmed` does, on the terminal itself, because standard input carries something else. None where
    the process has no terminal."""
    try:
        # Not one stream for both ways: a terminal cannot be sought in.
        keyboard = open("/dev/tty", encoding="utf-8", errors="replace")  # noqa: SIM115, PTH123  # closed below
    except OSError:
        yield None
        return

    def asked(question: str) -> bool:
        return _yes(question, keyboard, screen)

    with keyboard, open("/dev/tty", "w", encoding="utf-8", errors="replace") as screen:  # noqa: PTH123
        yield asked


def _yes(question: str, keyboard: TextIO, screen: TextIO) -> bool:
    with _line_ended_on(screen), heard():
        write(screen, f"{clean(question)} [y/N] ")
        answer = keyboard.readline()
    if not answer.endswith("\n"):
        write(screen, "\n")
    return answer.strip().lower() in ("y", "yes")


@contextmanager
def _line_ended_on(screen: TextIO) -> Iterator[None]:
    """What is said after Ctrl-C begins a line, however soon it came: at the question, or while that was written."""
    try:
        yield
    except (KeyboardInterrupt, EOFError):
        write(screen, "\n")
        raise


def read_token() -> Secret:
    """A token from standard input; on a terminal it is not shown while typed. Raises InvalidInput."""
    if sys.stdin.isatty():
        from getpass import getpass  # noqa: PLC0415  # needs a terminal anyway

        with _line_ended_on(sys.stderr), heard():
            text = getpass("Token (it is not shown): ", stream=sys.stderr)
    else:
        with heard():
            text = sys.stdin.buffer.read(_LONGEST_TOKEN + 1).decode("utf-8", "surrogateescape")
    token = Secret(text.strip())
    if not token or len(text) > _LONGEST_TOKEN:
        raise InvalidInput(
            "No token was given on standard input" if not token else "Standard input holds no token",
            then="Nothing was looked for",
            remedy="Type it when asked, or give it by a pipe; never as an argument",
        )
    return token
