"""The tools of the outside that check what is in `deploy/`; where one is missing its tests say so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def need(tool: str, what: str, source: str = ".ci/tools installs it") -> str:
    """The path of a tool; without it the test is skipped, and the last lines say what was not tried."""
    beside = Path(sys.executable).parent / tool  # from a wheel
    found = str(beside) if beside.exists() else shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed ({source}): {what} not tried")
    return found


def run(
    *command: str | Path,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; what it says is in the result, whatever its exit code."""
    return subprocess.run(
        [str(word) for word in command],
        input=text,
        env=None if environment is None else dict(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def done(*command: str | Path, text: str | None = None, timeout: float = 300) -> str:
    """Standard output of a command that must succeed."""
    ended = run(*command, text=text, timeout=timeout)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
