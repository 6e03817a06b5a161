"""How long real daemons take for many policies that are due at once, and whether the provider ever had to refuse.

    python -m tests.benchmarks.pacing
    python -m tests.benchmarks.pacing --daemons 2 --kill-half-way

Exit code 0 when every policy was rotated once, no call was answered with 429 and the last was done in time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from rotator.clock import SystemClock
from rotator.secret import Secret
from rotator.simulator.server import Simulator

WINDOW = 60
SLACK = 6
"""Seconds for the work itself, beyond the windows that the limit makes it take."""


class _SetBack(SystemClock):
    """Tokens that are made while `by` is set are that old afterwards."""

    by = timedelta(hours=2)

    def now(self) -> datetime:
        return super().now() - self.by


def main() -> int:
    """Runs it once and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pacing", description=__doc__)
    parser.add_argument("--policies", type=int, default=90)
    parser.add_argument("--limit", type=int, default=30, help="rotate-token calls in any 60 s")
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--kill-half-way", action="store_true", help="SIGKILL the first at half of the mints")
    options = parser.parse_args()
    allowed = (options.policies - 1) // options.limit * WINDOW + SLACK
    clock = _SetBack()
    with (
        tempfile.TemporaryDirectory() as name,
        Simulator(clock=clock, rotate_limit=options.limit) as simulator,
    ):
        folder = Path(name)
        furnished = simulator.furnish(options.policies)
        projects = dict(furnished.projects)
        _write(folder, projects)
        clock.by = timedelta(0)
        environment = {
            **os.environ,
            "LETTERMINT_API_URL": simulator.url,
            "LETTERMINT_TEAM_TOKEN": furnished.team_token.reveal(),
            "ROTATOR_POLICIES": str(folder / "policies"),
            "ROTATOR_JOURNAL": f"sqlite:///{folder}/state/journal.db",
            "ROTATOR_AUDIT_LOG": str(folder / "state" / "audit.jsonl"),
            "ROTATOR_ROTATE_LIMIT": str(options.limit),
            "ROTATOR_LISTEN": "127.0.0.1:0",
        }
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            daemons = [
                subprocess.Popen([sys.executable, "-m", "rotator", "serve"], env=environment, stderr=log)
                for _ in range(options.daemons)
            ]
            try:
                took = _watch(
                    simulator, projects, folder, daemons, began, allowed, kill=options.kill_half_way
                )
            finally:
                codes = _end(daemons)
        mints = {project: len(simulator.mints(project)) for project in projects}
        served = sum(simulator.is_alive(_stored(folder, project)) for project in projects)
        refused = Counter(event.call for event in simulator.events if event.status == 429)
        figures = {
            "policies": options.policies,
            "rotated": sum(1 for count in mints.values() if count),
            "mints": sum(mints.values()),
            "stores_with_a_living_token": served,
            "answers_429": dict(refused),
            "seconds": None if took is None else round(took, 1),
            "allowed_seconds": allowed,
            "exit_codes": codes,
        }
        print(json.dumps(figures, indent=2))  # noqa: T201  # what it is for
        once = all(count == 1 for count in mints.values()) or (options.kill_half_way and all(mints.values()))
        good = once and served == options.policies and not refused and took is not None and took <= allowed
        if not good:
            sys.stderr.write((folder / "log").read_text(encoding="utf-8")[-4000:])
        return 0 if good else 1


def _write(folder: Path, projects: dict[str, Secret]) -> None:
    (folder / "policies").mkdir()
    policies = []
    for number, (project, token) in enumerate(projects.items()):
        place = folder / f"{project}.json"
        place.write_text(json.dumps({"token": token.reveal()}), encoding="utf-8")
        place.chmod(0o600)
        policies.append(
            {
                "name": f"p{number}",
                "project": project,
                "strategy": "in-place",
                "schedule": {"every": "1h"},
                "destinations": [{"type": "file", "path": str(place), "format": "json", "key": "token"}],
            }
        )
    # JSON is YAML.
    (folder / "policies" / "all.yaml").write_text(json.dumps({"policies": policies}), encoding="utf-8")


def _stored(folder: Path, project: str) -> Secret:
    return Secret(json.loads((folder / f"{project}.json").read_text(encoding="utf-8"))["token"])


def _watch(
    simulator: Simulator,
    projects: dict[str, Secret],
    folder: Path,
    daemons: list[subprocess.Popen[bytes]],
    began: float,
    allowed: float,
    *,
    kill: bool,
) -> float | None:
    """Seconds until every store serves another token than at first; None when that takes far too long."""
    left = dict(projects)
    while left and time.monotonic() < began + allowed * 2:
        left = {project: first for project, first in left.items() if _stored(folder, project) == first}
        if kill and len(left) <= len(projects) // 2:
            daemons[0].kill()
            kill = False
        time.sleep(0.2)
    return None if left else time.monotonic() - began


def _end(daemons: list[subprocess.Popen[bytes]]) -> list[int]:
    for daemon in daemons:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
    codes = []
    for daemon in daemons:
        try:
            codes.append(daemon.wait(30))
        except subprocess.TimeoutExpired:
            daemon.kill()
            codes.append(daemon.wait())
    return codes


if __name__ == "__main__":
    sys.exit(main())
