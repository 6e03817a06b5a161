"""Logging set up for one test and put back afterwards."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rotator import logs
from tests.as_before import as_before
from tests.conftest import FakeClock


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Output:
    """What was logged."""

    def __init__(self, stream: io.StringIO) -> None:
        self.stream = stream

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


Configure = Callable[..., Output]


@pytest.fixture
def configure(clock: FakeClock) -> Iterator[Configure]:
    def configured(
        level: str = "debug", fmt: logs.Format = "json", *, terminal: bool = False, **environ: str
    ) -> Output:
        stream = Terminal() if terminal else io.StringIO()
        logs.configure(level, fmt, stream, environ=environ, clock=clock)
        return Output(stream)

    with as_before():
        yield configured
