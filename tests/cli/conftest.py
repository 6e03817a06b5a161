"""The command line on a workshop: in this process for most tests, as a real process where that matters."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rotator.cli.main import main
from rotator.simulator.server import Simulator
from tests.as_before import as_before
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

    with as_before():
        yield run
