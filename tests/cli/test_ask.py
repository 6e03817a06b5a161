"""A question that Ctrl-C ends."""

from __future__ import annotations

import io

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
