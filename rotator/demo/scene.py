"""The demo's stage: a local Lettermint, a policy, a secret in a file, and `rotator` as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rotator.secret import Secret
from rotator.simulator.server import Simulator

SENDER: Final = "orders@example.com"
KEY: Final = "LETTERMINT_PROJECT_TOKEN"
_OTHER: Final = "postgres://db.internal/orders"
ROTATE_LIMIT: Final = 30
"""Of the local Lettermint, in any 60 s; the real one allows as few as 3."""
_PATIENCE: Final = 90.0
"""Seconds that one command may take before the demo calls it failed."""


@dataclass(frozen=True)
class Ran:
    """One finished `rotator` command."""

    code: int
    output: dict[str, Any]
    errors: str

    @property
    def rotation(self) -> dict[str, Any]:
        """The last rotation it reported; empty if there was none."""
        rotations: list[dict[str, Any]] = self.output.get("rotations") or [{}]
        return rotations[-1]


class Scene:
    """Everything lives in `folder` and on loopback."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        made = simulator.furnish(1)
        self.project, first = made.projects[0]
        self.secret_file = folder / "orders.json"
        self.secret_file.write_text(
            json.dumps({"DATABASE_URL": _OTHER, KEY: first.reveal()}, indent=2) + "\n", encoding="utf-8"
        )
        self.secret_file.chmod(0o600)
        self._write_policy()
        package = Path(__file__).resolve().parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(paths),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "LETTERMINT_API_URL": simulator.url,
            "LETTERMINT_TEAM_TOKEN": made.team_token.reveal(),
            "ROTATOR_POLICIES": str(folder / "policies"),
            "ROTATOR_JOURNAL": f"sqlite:///{folder}/journal.db",
            "ROTATOR_AUDIT_LOG": str(folder / "audit.jsonl"),
            "ROTATOR_CALL_TIMEOUT": "2s",
            "ROTATOR_ROTATE_LIMIT": str(ROTATE_LIMIT),
            "ROTATOR_LOG_LEVEL": "error",
        }

    def _write_policy(self) -> None:
        policies = self.folder / "policies"
        policies.mkdir()
        (policies / "orders.yaml").write_text(
            f"""\
policies:
  - name: orders
    project: {self.project}
    strategy: in-place
    schedule: {{every: 30d}}
    destinations:
      - {{type: file, path: {json.dumps(str(self.secret_file))}, format: json, key: {KEY}}}
    verify:
      - {{type: ping}}
      - {{type: send, from: {SENDER}}}
""",
            encoding="utf-8",
        )

    # commands

    def rotator(self, *arguments: str) -> Ran:
        """Runs one command to its end."""
        done = subprocess.run(  # noqa: S603  # our own interpreter and package
            self._command(arguments),
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        try:
            output = json.loads(done.stdout) if done.stdout.strip() else {}
        except ValueError:
            output = {}
        return Ran(done.returncode, output, done.stderr)

    def start_rotator(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts one command whose end nobody waits for."""
        return subprocess.Popen(  # noqa: S603  # as above
            self._command(arguments),
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "rotator", *arguments, "-o", "json"]

    # the truth

    @property
    def stored(self) -> Secret:
        return Secret(json.loads(self.secret_file.read_text(encoding="utf-8"))[KEY])

    @property
    def other_field_untouched(self) -> bool:
        document = json.loads(self.secret_file.read_text(encoding="utf-8"))
        return list(document) == ["DATABASE_URL", KEY] and document["DATABASE_URL"] == _OTHER

    @property
    def mints(self) -> int:
        return len(self.simulator.mints(self.project))
