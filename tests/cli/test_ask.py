"""A question that Ctrl-C ends, or the end of the terminal."""

from __future__ import annotations

import io
import os
import pty

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
