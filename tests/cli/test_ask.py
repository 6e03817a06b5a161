"""A question that Ctrl-C ends, whenever it comes, or the end of the terminal."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
import time
from collections.abc import Callable
from typing import TextIO

import pytest

from rotator.cli import ask


class InterruptedScreen(io.StringIO):
    """Ctrl-C comes while it shows the question."""

    def __init__(self) -> None:
        super().__init__()
        self._pressed = False

    def flush(self) -> None:
        if not self._pressed:
            self._pressed = True
            raise KeyboardInterrupt


def test_ctrl_c_while_the_question_is_shown_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers at once is no different from who reads first."""
    screen = InterruptedScreen()
    monkeypatch.setattr("sys.stderr", screen)
    with pytest.raises(KeyboardInterrupt):
        ask.confirmed("Rotate now?")
    assert screen.getvalue() == "Rotate now? [y/N] \n"


def test_a_terminal_that_has_gone_answers_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closed the window has not said yes; the command ends as after any other no."""
    ours, theirs = pty.openpty()
    os.close(ours)
    with os.fdopen(theirs, "w", encoding="utf-8") as screen:
        monkeypatch.setattr("sys.stderr", screen)
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        assert not ask.confirmed("Rotate now?")


QUESTIONS: dict[str, tuple[bool, Callable[[], object]]] = {
    "a question": (True, lambda: ask.confirmed("Rotate now?")),
    "a token that is typed": (True, ask.read_token),
    "a token by a pipe": (False, ask.read_token),
}
"""What is asked, and whether on a terminal."""


@pytest.mark.parametrize("asked", QUESTIONS)
def test_ctrl_c_that_wakes_nobody_is_noticed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """As one that comes just before the read begins: here another thread takes it, while the main thread reads."""
    terminal, question = QUESTIONS[asked]
    reading, writing = os.pipe()
    keyboard = os.fdopen(reading, encoding="utf-8")
    monkeypatch.setattr(keyboard, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdin", keyboard)
    monkeypatch.setattr("sys.stderr", screen := io.StringIO())
    monkeypatch.setattr("getpass.getpass", typed_on(keyboard))
    given_up: list[str] = []

    def give_up() -> None:
        """So that it fails, and does not hang, where the signal is not noticed."""
        given_up.append("something had to be typed")
        os.write(writing, b"y" * 65536 + b"\n")

    patience = threading.Timer(10, give_up)
    patience.start()
    former = signal.getsignal(signal.SIGALRM)

    def take() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            question()
    finally:
        patience.cancel()
        patience.join()
        taker.join()
        os.close(writing)
        keyboard.close()
    assert given_up == []
    assert screen.getvalue().endswith("\n") == terminal
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == former


def typed_on(keyboard: TextIO) -> Callable[..., str]:
    """`getpass.getpass` for what is no terminal."""

    def typed(prompt: str, stream: TextIO) -> str:
        stream.write(prompt)
        return keyboard.readline()

    return typed
