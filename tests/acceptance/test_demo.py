"""`rotator demo`, as somebody types it who has just installed rotator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rotator.demo.scene import DRAIN_MIN
from tests.crash.harness import ROOT

OFFLINE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Runs a command where loopback is the only network."""
if (
    shutil.which("ip") is None
    or subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode
):
    OFFLINE = []  # not allowed here: the closed proxies below still stop whatever leaves this machine


def test_the_demo_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without HOME, proxy or network: exit 0, measured times, no line above 80 columns, no file left."""
    temporary, here = tmp_path / "tmp", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    closed = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "COLUMNS": "80",
        "HTTP_PROXY": closed,
        "HTTPS_PROXY": closed,
        "ALL_PROXY": closed,
    }
    ended = subprocess.run(
        [*OFFLINE, sys.executable, "-m", "rotator", "demo"],
        env=environment,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "FAILED" not in ended.stdout
    assert "Everything held" in ended.stdout
    measured = re.findall(r"measured outage: between (\d+\.\d{3}) and (\d+\.\d{3}) s", ended.stdout)
    assert len(measured) == 2
    assert all(float(low) <= float(high) for low, high in measured)
    assert re.search(r"the consumer saw \d+ of [1-9]\d* sends fail", ended.stdout)
    assert re.search(r"\b0 of [1-9]\d* sends failed; longest gap between two: \d+\.\d{3} s", ended.stdout)
    (overlap,) = re.findall(r"lived side by side for (\d+\.\d{3}) s", ended.stdout)
    assert float(overlap) >= DRAIN_MIN
    assert "retired on evidence: not used since 20" in ended.stdout
    assert len(re.findall(r"^ {11}\S+Z  (?:orders|checkout) +completed ", ended.stdout, re.MULTILINE)) == 4
    assert [line for line in ended.stdout.splitlines() if len(line) > 80] == []
    assert "lm_" not in ended.stdout
    assert list(temporary.iterdir()) == []
    assert list(here.iterdir()) == []
