"""Questions to a person. Asked on standard error, so that data can go elsewhere."""

from __future__ import annotations

import sys

from rotator.cli.output import say
from rotator.errors import InvalidInput
from rotator.secret import Secret

_LONGEST_TOKEN = 64 * 1024


def someone_answers() -> bool:
    """Whether there is a person who sees the question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Asks for y or n; anything but y is no. The end of input is no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        say("")
        raise
    if not answer.endswith("\n"):
        say("")
    return answer.strip().lower() in ("y", "yes")


def read_token() -> Secret:
    """A token from standard input; on a terminal it is not shown while typed. Raises InvalidInput."""
    if sys.stdin.isatty():
        from getpass import getpass  # noqa: PLC0415  # needs a terminal anyway

        text = getpass("Token (it is not shown): ", stream=sys.stderr)
    else:
        text = sys.stdin.buffer.read(_LONGEST_TOKEN + 1).decode("utf-8", "surrogateescape")
    token = Secret(text.strip())
    if not token or len(text) > _LONGEST_TOKEN:
        raise InvalidInput(
            "No token was given on standard input" if not token else "Standard input holds no token",
            then="Nothing was looked for",
            remedy="Type it when asked, or give it by a pipe; never as an argument",
        )
    return token
