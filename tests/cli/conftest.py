"""The command line on a workshop: in this process for most tests, as a real process where that matters."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from rotator.cli.main import main
from rotator.simulator.server import Simulator
from tests.cli.workshop import Ran, Workshop
from tests.crash.harness import Nursery


@pytest.fixture
def workshop(tmp_path: Path, nursery: Nursery) -> Iterator[Workshop]:
    """Policies, secrets and a local Lettermint whose rate limit no test meets by accident."""
    with Simulator(rotate_limit=50) as simulator:
        yield Workshop(tmp_path, simulator, nursery)


@pytest.fixture
def rotator(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ran]]:
    """Runs a command in this process, without a terminal."""
    root = logging.getLogger()
    kept = (list(root.handlers), root.level, logging.getLogger("rotator").level)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.chdir(workshop.folder)

    def run(*arguments: str, stdin: str = "", **environment: str) -> Ran:
        with monkeypatch.context() as patch:
            for name, value in {**workshop.environment, **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
            capfd.readouterr()
            code = main(arguments)
        shown = capfd.readouterr()
        return Ran(code, shown.out, shown.err)

    yield run
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    logging.getLogger("rotator").setLevel(kept[2])
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for number, handler in handlers.items():
        signal.signal(number, handler)
