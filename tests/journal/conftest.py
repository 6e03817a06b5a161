"""What the journal's tests share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgresql_server import postgresql

__all__ = ["postgresql"]

pytest.register_assert_rewrite("tests.journal.contract", "tests.journal.contract_of_spool")

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = Path(__file__).with_name("children.py")


@pytest.fixture
def start_child():
    """Starts one of the little programs of `children.py` as a process of its own."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-W", "error", str(CHILDREN), *map(str, arguments)]
        started.append(
            subprocess.Popen(
                command,
                env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def run_child(start_child):
    """Runs one to its end and gives the lines it printed."""

    def run(*arguments):
        child = start_child(*arguments)
        out, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (0, "")
        return out.splitlines()

    return run
