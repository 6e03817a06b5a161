"""A running local Lettermint for tests: import `simulator` into a conftest, or use `lettermint(...)`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from rotator.clock import Clock
from rotator.simulator.server import Simulator

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def lettermint(clock: Clock | None = None, **settings: Any) -> Iterator[Simulator]:
    """A Simulator in a thread of this process, empty: make what you need or call `furnish`."""
    with Simulator(clock=clock, **settings) as running:
        yield running


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """One on the system clock, with the documented limits."""
    with lettermint() as running:
        yield running


@contextmanager
def lettermint_process(*arguments: str) -> Iterator[dict[str, Any]]:
    """`python -m rotator.simulator` as a process of its own; yields the line it prints."""
    command = [sys.executable, "-m", "rotator.simulator", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(10)


def admin(admin_url: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of the simulator's own HTTP paths, such as `admin(url, "GET", "events?since=3")`."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(admin_url + path, data=data, method=method), timeout=10) as answer:
        return json.load(answer)
