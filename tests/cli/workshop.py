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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotator.simulator.server import Simulator
from tests.acceptance.site import eventually
from tests.crash.harness import Child, Nursery

ROOT = Path(__file__).resolve().parents[2]
LONG_NAME = "mail-of-the-checkout-and-of-the-shop-in-every-country-we-sell-i"
KEY = "LETTERMINT_PROJECT_TOKEN"
PATIENCE = 60
ON_TERMINAL = {"TERM": "xterm-256color", "COLUMNS": ""}
"""COLUMNS would hide what the terminal itself says."""
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


@dataclass(frozen=True)
class Place:
    """Where a command runs."""

    folder: Path
    environment: Mapping[str, str]


class Workshop:
    """Three policies, `billing` (tier=prod), one with the longest name there can be, and `newsletter`."""

    def __init__(self, folder: Path, simulator: Simulator, nursery: Nursery) -> None:
        self.folder = folder
        self.simulator = simulator
        self._nursery = nursery
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
        """`rotator` as a process of its own, without a terminal."""
        return ended(self.start(*arguments, stdin=stdin, **environment))

    def start(self, *arguments: str, stdin: str = "", **environment: str) -> Child:
        """The same, still running."""
        place = Place(self.folder, {**self.environment, **environment})
        return self._nursery.start(*arguments, stage=place, stdin=stdin)

    def from_scratch(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`python -m rotator`, by a Python that has loaded nothing, still running: where its own start matters, or
        pipes that are read from."""
        return subprocess.Popen(
            [sys.executable, "-m", "rotator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
        )

    def interrupted(self, *arguments: str, at: str, signals: tuple[int, ...], gap: float = 0.5) -> Ran:
        """A process that is sent signals, `gap` seconds apart, once it has said `at`."""
        child = said(self.start(*arguments), at)
        for number, one in enumerate(signals):
            time.sleep(gap if number else 0)
            child.signal(one)
        return ended(child)

    def on_terminal(
        self,
        *arguments: str,
        answers: Sequence[str] = (),
        columns: int = 80,
        piped: str | None = None,
        **environment: str,
    ) -> Ran:
        """A process with a terminal of its own; what it shows is in `out`, output and errors mixed.

        An answer is typed whenever the last thing shown is a question. The character ETX is Ctrl-C.
        `piped` is what standard input gives instead of the terminal.
        """
        ours, theirs = _terminal(columns)
        place = Place(self.folder, {**self.environment, **ON_TERMINAL, **environment})
        child = self._nursery.start(*arguments, stage=place, stdin=piped, terminal=os.ttyname(theirs))
        os.close(theirs)
        shown = _converse(ours, answers)
        return Ran(child.wait(PATIENCE).code, shown, "")

    def on_terminal_from_scratch(self, *arguments: str, answers: Sequence[str] = ()) -> Ran:
        """The same by a Python that has loaded nothing, whose streams are those that it made for a terminal."""
        ours, theirs = _terminal(80)
        child = subprocess.Popen(
            # In between, a process that takes the terminal as its own, so that Ctrl-C reaches it.
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "rotator", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env={**self.environment, **ON_TERMINAL},
            start_new_session=True,
        )
        os.close(theirs)
        shown = _converse(ours, answers)
        return Ran(child.wait(PATIENCE), shown, "")


def ended(child: Child) -> Ran:
    """How it ended, waited for."""
    done = child.wait(PATIENCE)
    return Ran(done.code, done.output, done.errors)


def said(child: Child, words: str) -> Child:
    """The same child, once it has said so."""

    def came() -> bool:
        over = child.ended() is not None
        assert not over or words in child.errors, child.errors
        return words in child.errors

    eventually(came)
    return child


def _terminal(columns: int) -> tuple[int, int]:
    """Our side of a terminal, and theirs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    return ours, theirs


def _converse(terminal: int, answers: Sequence[str]) -> str:
    """What was shown until the other side was closed; then ours is, too."""
    left = list(answers)
    shown = b""
    while select.select([terminal], [], [], PATIENCE)[0]:
        with contextlib.suppress(OSError):  # the other side is closed: Linux says EIO
            piece = os.read(terminal, 65536)
            shown += piece
            if shown.endswith((b"[y/N] ", b"shown): ")) and left:
                os.write(terminal, left.pop(0).encode())
            if piece:
                continue
        break
    os.close(terminal)
    return shown.decode("utf-8", "replace").replace("\r\n", "\n")
