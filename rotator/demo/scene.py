"""The demo's stage: a local Lettermint, policies, secrets in files, and `rotator` as a real process."""

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
DRAIN_MIN: Final = 2
"""Seconds; hours in earnest, because consumers keep what they read."""
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


class SecretFile:
    """A JSON file with another field before the token."""

    def __init__(self, path: Path, first: Secret) -> None:
        self.path = path
        path.write_text(
            json.dumps({"DATABASE_URL": _OTHER, KEY: first.reveal()}, indent=2) + "\n", encoding="utf-8"
        )
        path.chmod(0o600)

    @property
    def token(self) -> Secret:
        """What readers get."""
        return Secret(self._document[KEY])

    @property
    def other_field_untouched(self) -> bool:
        return list(self._document) == ["DATABASE_URL", KEY] and self._document["DATABASE_URL"] == _OTHER

    @property
    def _document(self) -> dict[str, str]:
        document: dict[str, str] = json.loads(self.path.read_text(encoding="utf-8"))
        return document


class Scene:
    """Everything lives in `folder` and on loopback. Two policies: `orders` rotates in place, `checkout` with
    a standby project."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        made = simulator.furnish(3)
        (self.project, first), (self.main, active), (self.standby, _) = made.projects
        self.orders = SecretFile(folder / "orders.json", first)
        self.checkout = SecretFile(folder / "checkout.json", active)
        self._write_policies()
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

    def _write_policies(self) -> None:
        policies = self.folder / "policies"
        policies.mkdir()
        in_place = f"project: {self.project}\n    strategy: in-place"
        alternated = (
            f"project: {self.main}\n    strategy: create-before-revoke\n"
            f"    standby: {{project: {self.standby}}}\n"
            f"    drain: {{min: {DRAIN_MIN}s, quiet: 1s, max: 1m}}"
        )
        for name, how, secret in (
            ("orders", in_place, self.orders),
            ("checkout", alternated, self.checkout),
        ):
            (policies / f"{name}.yaml").write_text(
                f"""\
policies:
  - name: {name}
    {how}
    schedule: {{every: 30d}}
    destinations:
      - {{type: file, path: {json.dumps(str(secret.path))}, format: json, key: {KEY}}}
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
    def mints(self) -> int:
        return len(self.simulator.mints(self.project))
