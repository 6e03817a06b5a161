"""A folder with policies, secrets and a local Lettermint, and `rotator` to run on them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotator.simulator.server import Simulator

ROOT = Path(__file__).resolve().parents[2]
LONG_NAME = "mail-of-the-checkout-and-of-the-shop-in-every-country-we-sell-i"
KEY = "LETTERMINT_PROJECT_TOKEN"
PATIENCE = 60
TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rotations(self) -> list[dict[str, Any]]:
        return self.json["rotations"]


class Workshop:
    """Three policies, `billing` (tier=prod), one with the longest name there can be, and `newsletter`."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        made = simulator.furnish(3)
        self.projects = [project for project, _ in made.projects]
        self.tokens = [token for _, token in made.projects]
        self.team_token = made.team_token
        self.policies = folder / "policies"
        self.policies.mkdir()
        self.write_policies()
        self.secret("billing.json", json.dumps({KEY: self.tokens[0].reveal(), "other": "kept"}))
        self.secret("checkout.env", f"TOKEN={self.tokens[1].reveal()}\n")
        self.secret("newsletter", self.tokens[2].reveal())
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "LETTERMINT_API_URL": simulator.url,
            "LETTERMINT_TEAM_TOKEN": self.team_token.reveal(),
            "ROTATOR_LOG_LEVEL": "error",
            "COLUMNS": "80",
        }

    def write_policies(self, *, extra: str = "") -> None:
        (self.policies / "mail.yaml").write_text(
            f"""\
policies:
  - name: billing
    project: {self.projects[0]}
    strategy: in-place
    schedule: {{every: 30d}}
    labels: {{tier: prod}}
    destinations:
      - {{type: file, path: ../secrets/billing.json, format: json, key: {KEY}}}
  - name: {LONG_NAME}
    project: {self.projects[1]}
    strategy: in-place
    schedule: {{every: 30d, jitter: 2h}}
    labels: {{tier: prod, region: eu}}
    destinations:
      - {{type: file, path: ../secrets/checkout.env, format: env, key: TOKEN}}
  - name: newsletter
    project: {self.projects[2]}
    strategy: in-place
    destinations:
      - {{type: file, path: ../secrets/newsletter}}
{extra}""",
            encoding="utf-8",
        )

    def secret(self, name: str, text: str) -> Path:
        path = self.folder / "secrets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def files(self) -> set[str]:
        """Everything in the folder but policies and secrets."""
        found = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith(("policies/", "secrets/"))}

    def process(self, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        """`python -m rotator` as a process of its own, without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "rotator", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, still running."""
        return subprocess.Popen(
            [sys.executable, "-m", "rotator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def interrupted(self, *arguments: str, at: str, signals: tuple[int, ...], gap: float = 0.5) -> Ran:
        """The same, with signals sent `gap` seconds apart once it has said `at`."""
        child = self.start(*arguments)
        assert child.stderr is not None
        said = ""
        while at not in said:
            line = child.stderr.readline()
            assert line, said
            said += line
        for number, one in enumerate(signals):
            time.sleep(gap if number else 0)
            child.send_signal(one)
        out, err = child.communicate(timeout=PATIENCE)
        return Ran(child.returncode, out, said + err)

    def on_terminal(
        self,
        *arguments: str,
        answers: Sequence[str] = (),
        columns: int = 80,
        piped: str | None = None,
        **environment: str,
    ) -> Ran:
        """The same on a terminal of its own; what it shows is in `out`, output and errors mixed.

        An answer is typed whenever the last thing shown is a question. The character ETX is Ctrl-C.
        `piped` is what standard input gives instead of the terminal.
        """
        given, giving = (None, None) if piped is None else os.pipe()
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        child = subprocess.Popen(
            # In between, a process that takes the terminal as its own, so that Ctrl-C reaches it.
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "rotator", *arguments],
            stdin=theirs if given is None else given,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            # COLUMNS would hide what the terminal itself says.
            env={**self.environment, "TERM": "xterm-256color", "COLUMNS": "", **environment},
            start_new_session=True,
        )
        os.close(theirs)
        if given is not None and giving is not None and piped is not None:
            os.close(given)
            os.write(giving, piped.encode())
            os.close(giving)
        shown = _converse(ours, list(answers))
        code = child.wait(PATIENCE)
        os.close(ours)
        return Ran(code, shown.replace("\r\n", "\n"), "")


def _converse(terminal: int, answers: list[str]) -> str:
    shown = b""
    while select.select([terminal], [], [], PATIENCE)[0]:
        with contextlib.suppress(OSError):  # the other side is closed: Linux says EIO
            piece = os.read(terminal, 65536)
            shown += piece
            if shown.endswith((b"[y/N] ", b"shown): ")) and answers:
                os.write(terminal, answers.pop(0).encode())
            if piece:
                continue
        break
    return shown.decode("utf-8", "replace")
