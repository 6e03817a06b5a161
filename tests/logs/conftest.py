"""Logging set up for one test and put back afterwards."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from rotator import logs
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
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in ("rotator", "botocore.endpoint", *logs._CAPPED))]
    levels = [(logger, logger.level) for logger in loggers]
    handlers = list(root.handlers)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    filters = list(warnings.filters)

    def configured(
        level: str = "debug", fmt: logs.Format = "json", *, terminal: bool = False, **environ: str
    ) -> Output:
        stream = Terminal() if terminal else io.StringIO()
        logs.configure(level, fmt, stream, environ=environ, clock=clock)
        return Output(stream)

    yield configured
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    for logger, level in levels:
        logger.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    warnings.filters[:] = filters
