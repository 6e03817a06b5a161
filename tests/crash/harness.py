"""Real commands, forked from a warm parent, and the Lettermint and stores they meet."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

ROOT = Path(__file__).resolve().parents[2]
MARKER = "Zq7Crash9K"
"""Begins the random part of every token, so that one search finds all of them."""
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Ended:
    """How a child ended: an exit code, or the negative number of the signal that killed it."""

    code: int
    output: str
    errors: str

    @property
    def rotations(self) -> list[dict[str, Any]]:
        return list(json.loads(self.output)["rotations"])


class Workplace(Protocol):
    """Where a command runs."""

    folder: Path
    environment: Mapping[str, str]


class Nursery:
    """The warm parent of all children; a process of its own, because a forked child must have no threads."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._started = 0
        self._lock = threading.Lock()
        assert self._answer() == {"ready": True}

    def run(
        self,
        *argv: str,
        stage: Workplace,
        trace: Mapping[str, Any] | None = None,
        prepare: Mapping[str, Any] | None = None,
    ) -> Ended:
        """Runs one command to its end. `prepare` (`call`: "module:function", `with`: arguments) is called
        in the child before it."""
        out, err = stage.folder / "stdout", stage.folder / "stderr"
        code = self._ask(_request(argv, stage, out, err, trace=trace, prepare=prepare))["code"]
        return _ended(code, out, err)

    def start(
        self,
        *argv: str,
        stage: Workplace,
        trace: Mapping[str, Any] | None = None,
        prepare: Mapping[str, Any] | None = None,
        stdin: str | None = None,
        terminal: str | None = None,
    ) -> Child:
        """Starts one command whose end `Child.wait` waits for. `stdin` is what a pipe gives it, else it has none;
        `terminal`: the device that it has as its own, for all of its streams but that."""
        self._started += 1
        out, err = (stage.folder / f"{name}-{self._started}" for name in ("stdout", "stderr"))
        request = _request(argv, stage, out, err, trace=trace, prepare=prepare)
        with _pipe_of(stdin) as given:
            answer = self._ask({**request, "wait": False, "stdin": given, "terminal": terminal})
        return Child(self, answer["pid"], out, err)

    def reap(self, pid: int, patience: float) -> int | None:
        code: int | None = self._ask({"reap": pid, "patience": patience})["code"]
        return code

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery died"
        return dict(json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


class Child:
    """A command that runs while the test goes on."""

    def __init__(self, nursery: Nursery, pid: int, out: Path, err: Path) -> None:
        self._nursery = nursery
        self.pid = pid
        self._out = out
        self._err = err
        self._ended: Ended | None = None
        self._process = os.pidfd_open(pid)
        self._end = select.poll()
        self._end.register(self._process, select.POLLIN)

    @property
    def errors(self) -> str:
        """Standard error so far."""
        if self._ended is not None:
            return self._ended.errors
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def signal(self, number: int) -> None:
        """Fails with what it said where it has ended already."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise AssertionError(f"ended before the signal could come: {self._ended}") from None

    def ended(self) -> Ended | None:
        """How it ended; None while it runs. Costs next to nothing."""
        if self._ended is not None:
            return self._ended
        return self.wait() if self._end.poll(0) else None

    def wait(self, patience: float = 60.0) -> Ended:
        """May be asked again."""
        if self._ended is not None:
            return self._ended
        code = self._nursery.reap(self.pid, patience)
        if code is None:
            errors = self.errors
            self.signal(signal.SIGKILL)
            self._nursery.reap(self.pid, patience)
            raise AssertionError(f"still running after {patience:g} s:\n{errors}")
        os.close(self._process)
        self._ended = _ended(code, self._out, self._err)
        return self._ended


def _request(
    argv: tuple[str, ...], stage: Workplace, out: Path, err: Path, **more: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "argv": list(argv),
        "env": dict(stage.environment),
        "cwd": str(stage.folder),
        "stdout": str(out),
        "stderr": str(err),
        **more,
    }


@contextmanager
def _pipe_of(text: str | None) -> Iterator[str | None]:
    """The path of a pipe that gives this text and ends."""
    if text is None:
        yield None
        return
    reading, writing = os.pipe()
    os.write(writing, text.encode())  # less than a pipe holds
    os.close(writing)
    try:
        yield f"/proc/{os.getpid()}/fd/{reading}"
    finally:
        os.close(reading)


def _ended(code: int, out: Path, err: Path) -> Ended:
    ended = Ended(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    out.unlink()
    err.unlink()
    return ended


def running_nursery() -> Iterator[Nursery]:
    """For a fixture of whatever scope."""
    made = Nursery()
    yield made
    made.close()


def running_lettermint() -> Iterator[tuple[Simulator, Secret]]:
    """For a fixture of whatever scope: limits that no test meets, and a team token. Every token holds MARKER."""
    limits = {"rotate_limit": 100_000, "read_limit": 1_000_000, "write_limit": 100_000}
    with Simulator(marker=MARKER, **limits) as simulator:
        yield simulator, simulator.furnish(0).team_token


def running_vault() -> Iterator[StrictVault]:
    """For a fixture of whatever scope: the strict fake."""
    with StrictVault() as server:
        yield server


def running_aws() -> Iterator[tuple[StrictSecretsManager, Any]]:
    """For a fixture of whatever scope: the strict fake, and somebody else's client of it."""
    import boto3  # noqa: PLC0415  # a second to load; the nursery does without

    with StrictSecretsManager() as server:
        client = boto3.client(
            "secretsmanager",
            region_name="eu-central-1",
            endpoint_url=server.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        yield server, client


KILLED = -signal.SIGKILL


def tokens_on_disk(folder: Path, simulator: Simulator) -> list[str]:
    """Files that hold a token and are no destination (a destination keeps its own former versions).

    The tokens must hold MARKER.
    """
    assert all(MARKER in token.reveal() for token in simulator.issued()[:1])
    store = folder / "store"
    found = [
        f"a token stands in {path.name}"
        for path in folder.rglob("*")
        if path.is_file() and store not in path.parents and MARKER.encode() in path.read_bytes()
    ]
    leftovers = [p.name for p in store.rglob("*") if "tmp" in p.name] if store.exists() else []
    return found + [f"{name} was left behind" for name in leftovers]
